"""The guide's figures: what the shipped model must come to, typed once and by hand."""

# Exchange, queue, routing key, maximum length.
GUIDE = (
    ("cpu_tasks", "cpu_ml_training", "cpu.ml", 100),
    ("cpu_tasks", "cpu_video_processing", "cpu.video", 50),
    ("cpu_tasks", "cpu_data_analysis", "cpu.analysis", 200),
    ("io_tasks", "io_api_calls", "io.api", 10000),
    ("io_tasks", "io_file_operations", "io.file", 5000),
    ("io_tasks", "io_email_sending", "io.email", 10000),
    ("memory_tasks", "memory_aggregations", "memory.aggregate", 100),
    ("memory_tasks", "memory_large_imports", "memory.import", 50),
    ("general_tasks", "general_background", "general.background", 10000),
    ("general_tasks", "general_scheduled", "general.scheduled", 10000),
)
