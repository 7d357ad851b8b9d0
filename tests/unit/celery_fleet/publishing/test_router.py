from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleet_files import document

from celery_fleet import fleet_file
from celery_fleet.fleet import Branch, Fleet, Routing, Rule
from celery_fleet.publishing.router import Router, words

# The figures of the guide that the routing implements.
ML, VIDEO, ANALYSIS = "cpu_ml_training", "cpu_video_processing", "cpu_data_analysis"
API, FILES, EMAIL = "io_api_calls", "io_file_operations", "io_email_sending"
AGGREGATE, IMPORT = "memory_aggregations", "memory_large_imports"
DEFAULT, PERIODIC = "general_background", "general_scheduled"

ROUTES = {
    # the eight examples of the guide, with and without a module path
    "train_model": ML,
    "process_video": VIDEO,
    "analyze_dataset": ANALYSIS,
    "call_external_api": API,
    "upload_file": FILES,
    "send_email": EMAIL,
    "aggregate_user_data": AGGREGATE,
    "import_large_csv": IMPORT,
    "demo.tasks.cpu.train_model": ML,
    "demo.tasks.io.send_email": EMAIL,
    "demo.tasks.memory.import_large_csv": IMPORT,
    # every word of every rule
    "train": ANALYSIS,
    "model": ML,
    "process": ANALYSIS,
    "analyze": ANALYSIS,
    "compute": ANALYSIS,
    "encode": ANALYSIS,
    "api": API,
    "fetch": API,
    "download": FILES,
    "upload": FILES,
    "request": API,
    "email": EMAIL,
    "scrape": API,
    "aggregate": AGGREGATE,
    "join": IMPORT,
    "merge": IMPORT,
    "import": IMPORT,
    "bulk": IMPORT,
    # every branch
    "compute_ml_features": ML,
    "encode_video": VIDEO,
    "process_image": VIDEO,
    "train_video_model": ML,
    "download_report": FILES,
    "scrape_site": API,
    "request_quote": API,
    "request_file": FILES,
    "fetch_email": API,
    "merge_aggregate": AGGREGATE,
    # the first rule wins
    "process_email": ANALYSIS,
    "import_email": EMAIL,
    "fetch_and_aggregate": API,
    # words inside of words do not count
    "render_html": DEFAULT,
    "important_notice": DEFAULT,
    "rapid_reply": DEFAULT,
    "therapist_booking": DEFAULT,
    "constrain_budget": DEFAULT,
    "training_done": DEFAULT,
    "remodel_kitchen": DEFAULT,
    "profile_user": DEFAULT,
    "videos": DEFAULT,
    "xml_report": DEFAULT,
    "rejoin": DEFAULT,
    # neither does the module path
    "app.processors.cleanup": DEFAULT,
    "app.process.cleanup": DEFAULT,
    "api.tasks.notify": DEFAULT,
    "email.api.notify": DEFAULT,
    "models.import_.notify": DEFAULT,
    # ways of writing names
    "trainModel": ML,
    "TrainModel": ML,
    "shop.tasks.ProcessVideo": VIDEO,
    "HTTPRequestJob": API,
    "callExternalAPI": API,
    "MLCompute": ML,
    "process-video": VIDEO,
    "TRAIN_MODEL": ML,
    "encode2video": VIDEO,
    "mp4_encode": ANALYSIS,
    "s3upload": FILES,
    "s3_upload": FILES,
    "v2api": API,
    "__train__model__": ML,
    "download file": FILES,
    "обработать_video": DEFAULT,
    "process_ölvideo": ANALYSIS,
    # nothing to go by
    "": DEFAULT,
    ".": DEFAULT,
    "train.": DEFAULT,
    "...": DEFAULT,
    "42": DEFAULT,
    "do_it": DEFAULT,
    # Celery's own
    "celery.chord_unlock": DEFAULT,
    "celery.group": DEFAULT,
    "celery.backend_cleanup": DEFAULT,
    "celery.chunks": DEFAULT,
    "celery_fleet.canary": DEFAULT,
    "celery.accumulate": DEFAULT,
    "celery.map": DEFAULT,
    "celery.starmap": DEFAULT,
    "celery.chain": DEFAULT,
    "celery.chord": DEFAULT,
    "celery.ping": DEFAULT,
    # but not what only begins like it
    "celerytasks.train_model": ML,
    "celery": DEFAULT,
    "celery_process": ANALYSIS,
    "shop.celery.train": ANALYSIS,
    "Celery.train": ANALYSIS,
    # words that the substrings of the guide take for others
    "html_report": DEFAULT,
    "htmlReport": DEFAULT,
    "processors.send_email": EMAIL,
    "image_processors.send_email": EMAIL,
    "video_api.send_email": EMAIL,
    "important_note": DEFAULT,
    "importance_score": DEFAULT,
    "rapid_fire": DEFAULT,
    "capitalize_names": DEFAULT,
    "adjoin_tables": DEFAULT,
    "joint_account": DEFAULT,
    "emerge": DEFAULT,
    "submerged_sensor": DEFAULT,
    "emails_digest": DEFAULT,
    "mailer_run": DEFAULT,
    "prefetch_cache": DEFAULT,
    "reprocess_orders": DEFAULT,
    "processing_done": DEFAULT,
    "subprocess_run": DEFAULT,
    "strain_gauge": DEFAULT,
    "trainer_notes": DEFAULT,
    "computer_inventory": DEFAULT,
    "decode_token": DEFAULT,
    "encoder_warmup": DEFAULT,
    "supermodel_contest": DEFAULT,
    "requests_summary": DEFAULT,
    "prerequest": DEFAULT,
    "skyscraper_height": DEFAULT,
    "bulky_goods": DEFAULT,
    "aggregated_view": DEFAULT,
    "downloads_cleanup": DEFAULT,
    "uploader_ping": DEFAULT,
    "apiary_visit": DEFAULT,
    "filed_taxes": DEFAULT,
    "imagery": DEFAULT,
    # what has a branch's word, but none of its rule
    "ml_report": DEFAULT,
    "resize_image": DEFAULT,
    "play_video": DEFAULT,
    "remove_file": DEFAULT,
    # camelCase
    "sendEmail": EMAIL,
    "SendEmail": EMAIL,
    "importCSVFile": IMPORT,
    "ImportCSVFile": IMPORT,
    "HTTPFetchJob": API,
    "fetchHTTP": API,
    "parseHTMLReport": DEFAULT,
    "trainMLModel": ML,
    "encodeMP4Video": VIDEO,
    "rapidFire": DEFAULT,
    "importantNote": DEFAULT,
    "uploadToS3": FILES,
    "BulkAPIImport": API,
    "eMail": DEFAULT,
    "e_mail": DEFAULT,
    "shop.Tasks.downloadReport": FILES,
    "SEND_EMAIL": EMAIL,
    "SendEMail": DEFAULT,
    # digits
    "send_email2": EMAIL,
    "2fetch": API,
    "email2sms": EMAIL,
    "train_v2_model": ML,
    "model3": ML,
    "step1.process": ANALYSIS,
    "mp3": DEFAULT,
    "1.2.3": DEFAULT,
    # Unicode: letters are letters of a word, other signs separate
    "tâche_email": EMAIL,
    "émail": DEFAULT,
    "emailé": DEFAULT,
    "送信_email": EMAIL,
    "送信email": DEFAULT,
    "email📧": EMAIL,
    "📧": DEFAULT,
    "trainа": DEFAULT,  # noqa: RUF001 - ends in a Cyrillic letter
    "import\u200bcsv": IMPORT,
    "ｅｍａｉｌ": DEFAULT,  # noqa: RUF001 - full-width letters
    # separators of every kind, and empty segments
    "send:email": EMAIL,
    "send/email": EMAIL,
    "send email now": EMAIL,
    "tasks..send_email": EMAIL,
    ".send_email": EMAIL,
    "send_email.": DEFAULT,
    "send_email..": DEFAULT,
    "_": DEFAULT,
    "__": DEFAULT,
    "send__email": EMAIL,
    "_email_": EMAIL,
    "-email-": EMAIL,
    " email ": EMAIL,
    "email\n": EMAIL,
    "\x00email": EMAIL,
    "send@email.com": DEFAULT,
    # very long
    "x" * 10_000: DEFAULT,
    "a." * 10_000 + "send_email": EMAIL,
    "a_" * 10_000 + "send_email": EMAIL,
    "email." * 10_000 + "notify": DEFAULT,
    "Aa" * 10_000: DEFAULT,
    "A" * 10_000 + "_train": ANALYSIS,
    # what people really call their tasks
    "shop.orders.tasks.fetch_exchange_rates": API,
    "shop.orders.tasks.sync_orders": DEFAULT,
    "shop.orders.tasks.send_email_confirmation": EMAIL,
    "crm.tasks.scrape_directory": API,
    "crm.tasks.merge_duplicates": IMPORT,
    "crm.tasks.join_segments": IMPORT,
    "media.tasks.encode_audio": ANALYSIS,
    "media.tasks.download_video": FILES,
    "media.tasks.upload_image": FILES,
    "bi.tasks.aggregate_sales_by_region": AGGREGATE,
    "bi.tasks.bulk_aggregate": AGGREGATE,
    "bi.tasks.import_and_aggregate": AGGREGATE,
    "bi.tasks.compute_churn_model": ML,
    "bi.tasks.request_export_file": FILES,
    "web.views.render_page": DEFAULT,
}


def test_the_table_is_large() -> None:
    assert len(ROUTES) >= 150


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(_repository().routing)


def _repository() -> Fleet:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "fleet.json")
        path.write_text(json.dumps(document()), encoding="utf-8")
        return fleet_file.load(str(path))


@pytest.mark.parametrize(("name", "queue"), ROUTES.items())
def test_a_name_leads_to_its_queue(router: Router, name: str, queue: str) -> None:
    assert router.explain(name).queue == queue


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "HTMLParser2.fetchAPI_data": ["html", "parser", "2", "fetch", "api", "data"],
        "HTTPServer": ["http", "server"],
        "process-video.v2": ["process", "video", "v", "2"],
        "": [],
    }.items(),
)
def test_names_are_split_into_words(name: str, expected: list[str]) -> None:
    assert words(name) == expected


@pytest.mark.parametrize(
    ("hint", "queue"),
    {"cpu": ANALYSIS, "io": API, "memory": AGGREGATE, "general": DEFAULT, "gpu": DEFAULT}.items(),
)
def test_a_hint_wins_over_the_name(router: Router, hint: str, queue: str) -> None:
    assert router.explain("send_email", hint=hint).queue == queue


def test_an_explicit_queue_wins_over_everything(router: Router) -> None:
    decision = router.explain("train_model", queue=EMAIL, hint="memory", periodic=True)
    assert decision.queue == EMAIL
    assert decision.rule == "explicit queue"


def test_a_periodic_task_follows_a_rule_first(router: Router) -> None:
    assert router.explain("aggregate_sales", periodic=True).queue == AGGREGATE
    assert router.explain("tidy_up", periodic=True).queue == PERIODIC
    assert router.explain("tidy_up", hint="nonsense", periodic=True).queue == DEFAULT
    assert router.explain("celery.backend_cleanup", periodic=True).queue == DEFAULT


def test_a_decision_says_why(router: Router) -> None:
    assert router.explain("train_model").rule == "rule cpu, word train, branch model"
    assert router.explain("encode_video").rule == "rule cpu, word encode, branch video"
    assert router.explain("merge_tables").rule == "rule memory, word merge"
    assert router.explain("tidy_up").rule == "default"
    assert router.explain("tidy_up", periodic=True).rule == "periodic"
    assert router.explain("tidy_up", hint="gpu").rule == "unknown hint gpu"
    assert router.explain("tidy_up", hint="io").rule == "hint io"


def test_rules_of_the_site_come_first_and_may_look_at_the_path() -> None:
    routing = Routing(
        default_queue="default",
        periodic_queue="periodic",
        hints={},
        aliases={},
        site_rules=(
            Rule(name="billing", task="billing.*", queue="money"),
            Rule(name="reports", words=("report",), match="path", queue="reports"),
            Rule(name="both", task="shop.*", words=("pack",), queue="packing"),
            Rule(name="own", task="celery.backend_*", queue="backend"),
        ),
        rules=(Rule(name="cpu", words=("train",), branches=(Branch(("ml",), "ml"),), queue="cpu"),),
    )
    router = Router(routing)
    expected = {
        "billing.train": "money",
        "billing": "default",
        "app.report.run": "reports",
        "app.reporting.run": "default",
        "shop.pack_box": "packing",
        "shop.sell": "default",
        "other.pack_box": "default",
        "train_ml": "ml",
        "train": "cpu",
        "celery.backend_cleanup": "backend",
        "celery.train": "default",
    }
    assert {name: router.explain(name).queue for name in expected} == expected


_ROUTER = Router(_repository().routing)
_QUEUES = set(_repository().addresses())


@given(st.text() | st.from_regex(r"[a-zA-Z_.]{0,30}"), st.none() | st.text(), st.booleans())
def test_every_name_leads_to_a_queue_that_exists(name: str, hint: str | None, periodic: bool) -> None:
    first = _ROUTER.explain(name, hint=hint, periodic=periodic)
    assert first.queue in _QUEUES
    assert first == _ROUTER.explain(name, hint=hint, periodic=periodic)
