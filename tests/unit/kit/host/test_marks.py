"""Which fleet a host carries, by what its files say."""

import pytest
from fleet.host import marks
from fleet.host.names import FLEET, below


@pytest.mark.parametrize("part", marks.PLACES)
def test_a_host_carries_a_fleet_of_which_it_has_a_part(tmp_path, part):
    assert marks.carried(tmp_path) == {}
    always, mark = (below(tmp_path, path) for path in marks.PLACES[part])
    always.parent.mkdir(parents=True, exist_ok=True)
    always.touch()
    assert marks.carried(tmp_path) == {part: FLEET}, "an earlier kit wrote no mark"
    mark.parent.mkdir(parents=True, exist_ok=True)
    (item,) = marks.items("staging", str(mark), owner="root")
    mark.write_text(item["content"])
    assert marks.carried(tmp_path) == {part: "staging"}
    assert marks.refusal("staging", tmp_path) == ""
    assert bool(marks.refusal(FLEET, tmp_path)) is (part == marks.WORKERS)


def test_a_fleet_without_a_name_leaves_no_mark():
    assert marks.items(FLEET, "/etc/celery-fleet/fleet") == []
