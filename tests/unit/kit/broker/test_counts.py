"""What queues hold, as a node's own command counts it."""

from __future__ import annotations

import pytest
from fleet.broker.api import BrokerError
from fleet.broker.counts import Counts, counter, expression


def test_the_question_is_one_line_and_no_name_can_change_it():
    names = ['a", b', "ü>>", "\n"]
    text = expression("v h", names)
    assert "\n" not in text
    assert "(<<118,32,104>>, queue, Name)" in text
    assert "[<<97,34,44,32,98>>, <<195,188,62,62>>, <<10>>]" in text
    assert (text.count("("), text.count("[")) == (text.count(")"), text.count("]"))


def test_every_queue_has_its_own_counts_or_none():
    count = counter(lambda argv: (0, "[[7,1,2,3],null]\nok\n", ""), "v")
    assert count(["b", "a"]) == {"a": Counts(7, 1, 2, 3), "b": None}


def test_nobody_is_asked_about_no_queue():
    assert counter(lambda argv: pytest.fail(str(argv)), "v")([]) == {}


def test_a_node_that_does_not_answer_is_an_error():
    with pytest.raises(BrokerError, match=r"could not count .* unable to connect"):
        counter(lambda argv: (69, "", "unable to connect"), "v")(["a"])


@pytest.mark.parametrize(
    ("counts", "in_work", "text"),
    [
        (Counts(0, 0, 0, 0), "", ""),
        (Counts(12, 12, 0, 1), "1 consumer", "12 ready messages, 1 consumer"),
        (
            Counts(6, 1, 2, 3),
            "2 unacknowledged messages, 3 consumers",
            "1 ready message, 3 waiting dead letters, 2 unacknowledged messages, 3 consumers",
        ),
    ],
)
def test_counts_in_words(counts, in_work, text):
    assert (counts.in_work, counts.text) == (in_work, text)
