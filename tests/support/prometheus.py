"""Prometheus' own commands, and the metrics of others that rules read."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Of RabbitMQ's plugin, as 3.10.8 and 4.0.5 have them: those of this list that both print.
BROKER_METRICS = {
    "erlang_vm_dist_node_state",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_build_info",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_global_messages_confirmed_total",
    "rabbitmq_global_messages_dead_lettered_confirmed_total",
    "rabbitmq_global_messages_dead_lettered_delivery_limit_total",
    "rabbitmq_global_messages_dead_lettered_expired_total",
    "rabbitmq_global_messages_dead_lettered_rejected_total",
    "rabbitmq_global_messages_received_confirm_total",
    "rabbitmq_global_messages_unroutable_dropped_total",
    "rabbitmq_global_messages_unroutable_returned_total",
    "rabbitmq_process_max_fds",
    "rabbitmq_process_open_fds",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_resident_memory_limit_bytes",
}
# Of node exporter 1.5 and 1.9, of Alertmanager 0.25 and 0.28, and of Prometheus itself.
OTHER_METRICS = {
    "alertmanager_notifications_failed_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "node_timex_offset_seconds",
    "up",
}


def command(name: str) -> str:
    """Return the path of `promtool`, `amtool` or `nginx`, which `scripts/setup test` fetches.

    Raises:
        FileNotFoundError: It is not there.
    """
    tools = ROOT / ".cache/tools/usr"
    found = shutil.which(name) or shutil.which(name, path=f"{tools}/bin:{tools}/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is missing; run scripts/setup test")
    return str(Path(found).absolute())
