"""The picture: well-formed, with every figure in it, and no text over another or beside its box."""

import copy
import re
import xml.etree.ElementTree as ET

import pytest
from fleet.plan.fleet import fleet_plan
from fleet.plan.picture import drawing, mermaid, svg, text_width

SVG = "{http://www.w3.org/2000/svg}"


def small(model):
    servers = {"cpu": (2, 16, 32102), "memory": (1, 8, 128700), "balanced": (1, 8, 64300)}
    return fleet_plan(
        model,
        {
            f"{name}-{at}": {
                "groups": [f"{name}_servers"],
                "pools": {},
                "hardware": {"cores": cores, "memory_mib": memory},
            }
            for name, (number, cores, memory) in servers.items()
            for at in range(1, number + 1)
        },
    )


def large(model):
    """60 queues of 12 pools on 50 hosts of several shapes."""
    kinds = list(model["pools"])
    pools = {}
    for at in range(12):
        kind = kinds[at % 4]
        name = f"{kind}_{('billing', 'media', 'reports')[at // 4]}"
        queues = {
            f"{name}_{word}": {"routing_key": f"{name}.{word}".replace("_", "."), "max_length": 10000}
            for word in ("thumbnails", "synchronisation", "export", "nightly_refresh", "mail")
        }
        pools[name] = {**copy.deepcopy(model["pools"][kind]), "exchange": f"{name}_tasks", "queues": queues}
    names = list(pools)
    model["pools"] = pools
    model["profiles"] = {f"g{at}": {"pools": {n: {} for n in names[2 * at : 2 * at + 2]}} for at in range(6)}
    queue = next(iter(pools[names[0]]["queues"]))
    model["routing"] = {"default_queue": queue, "periodic_queue": queue, "hints": {}, "rules": []}
    return fleet_plan(
        model,
        {
            f"g{at % 6}-{at:02}.eu-west.example.com": {
                "groups": [f"g{at % 6}"],
                "pools": {},
                "hardware": {"cores": 32, "memory_mib": 257000 if at % 5 else 128700},
            }
            for at in range(50)
        },
    )


@pytest.fixture(params=[small, large])
def document(model, request):
    return request.param(model)


def texts(picture):
    """Yield each text with the box that it needs at most: left, top, right, bottom."""
    for node in ET.fromstring(picture).iter(f"{SVG}text"):
        names = node.get("class", "").split()
        size = 17 if "title" in names else 12 if "small" in names else 13
        width = text_width(node.text, size, "strong" in names)
        right = float(node.get("x")) + (0 if node.get("text-anchor") == "end" else width)
        yield node.text, (right - width, float(node.get("y")) - size, right, float(node.get("y")) + 3)


def test_no_text_overlaps_another_or_leaves_the_picture(document):
    picture = svg(document)
    root = ET.fromstring(picture)
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [box for _, box in texts(picture)]
    assert all(
        left >= 0 and right <= width and top >= 0 and bottom <= height for left, top, right, bottom in boxes
    )
    for at, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:at]:
            apart = left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
            assert apart, (left, top, other)


def test_no_box_overlaps_another(document):
    rects = [
        [float(node.get(key)) for key in ("x", "y", "width", "height")]
        for node in ET.fromstring(svg(document)).iter(f"{SVG}rect")
        if node.get("class") != "page" and float(node.get("width")) > 10
    ]
    for at, (x, y, width, height) in enumerate(rects):
        for ox, oy, owidth, oheight in rects[:at]:
            assert x >= ox + owidth or ox >= x + width or y >= oy + oheight or oy >= y + height


def test_every_name_and_figure_is_in_both_forms(document):
    shown = {text for text, _ in texts(svg(document))}
    chart = mermaid(document)
    for pool in document["pools"].values():
        for name in (pool["exchange"], pool["name"], *pool["queues"]):
            assert name in shown
            assert name in chart
    for host in document["hosts"]:
        for pool in host["pools"].values():
            figure = f"{pool['concurrency']} at once, "
            assert any(text.startswith(figure) for text in shown)
            assert figure in chart


def test_the_small_fleet_in_one_line(model):
    document = small(model)
    assert drawing(document).summary == "10 queues → 4 pools → 4 hosts: 88 tasks at once"


def test_hosts_of_the_same_shape_share_a_box(model):
    groups = drawing(small(model)).groups
    assert [group.title for group in groups] == ["2 hosts", "memory-1", "balanced-1"]
    assert groups[0].names == ["cpu-[1:2]"]


def test_many_shapes_become_ranges(model):
    hosts = {
        f"c{at}": {
            "groups": ["cpu_servers"],
            "pools": {"cpu": {"concurrency": at}},
            "hardware": {"declared": {"cores": 64, "memory_gib": 256}},
        }
        for at in range(1, 31)
    }
    (group,) = drawing(fleet_plan(model, hosts)).groups
    assert group.line("cpu") == "1 to 30 at once, 230 GiB"


def test_a_pool_that_runs_nowhere_is_drawn_and_says_so(model):
    document = fleet_plan(model, {})
    assert "cpu (on no host)" in {text for text, _ in texts(svg(document))}
    assert "cpu (on no host)" in mermaid(document)


def test_names_cannot_break_out(model):
    document = small(model)
    document["hosts"][0]["host"] = '<script>"]; & #x'
    assert ET.fromstring(svg(document)).find(f".//{SVG}script") is None
    label = re.search(r'h\d+\["(.*)"\]', mermaid(document))
    assert label and not set(label[1].replace("<br/>", "")) & set('<>"&')


def test_the_chart_has_an_edge_for_every_queue_and_every_place_of_a_pool(document):
    lines = mermaid(document).splitlines()
    queues = sum(len(pool["queues"]) for pool in document["pools"].values())
    places = sum(len(group.pools) for group in drawing(document).groups)
    assert lines[0] == "flowchart LR"
    assert sum(line.count("-->") for line in lines) == 2 * queues + places
