"""What kombu has in a Redis, and what the move does there in one step each."""

from __future__ import annotations

from collections.abc import Mapping

from amqp.exceptions import AMQPError

try:
    import redis as redis
except ImportError:  # only an application that has, or had, such a broker brings it
    redis = None  # type: ignore[assignment]

SEPARATOR = "\x06\x16"
BINDINGS = "_kombu.binding."
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
# What was taken, and has perhaps not been published yet, by the id that it is published with.
MOVING = "celery_fleet_moving"
# Each message goes from its list to those that are moved, or stays; both at once, whoever else takes some.
TAKE = """
local taken = {}
for n = 2, #ARGV, 2 do
  if redis.call('LREM', KEYS[1], -1, ARGV[n + 1]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[n], ARGV[1] .. '\\n' .. ARGV[n + 1])
    table.insert(taken, ARGV[n])
  end
end
return taken
"""
# The same of what workers held.
TAKE_UNACKED = """
local taken = {}
for n = 1, #ARGV, 3 do
  local raw = redis.call('HGET', KEYS[1], ARGV[n + 1])
  if raw then
    redis.call('HDEL', KEYS[1], ARGV[n + 1])
    redis.call('ZREM', KEYS[3], ARGV[n + 1])
    redis.call('HSET', KEYS[2], ARGV[n], ARGV[n + 2] .. '\\n' .. raw)
    table.insert(taken, ARGV[n])
  end
end
return taken
"""


def escaped(text: str) -> str:
    """Return a text as a pattern that fits it alone."""
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)


def shown_name(name: str) -> str:
    """Return the name of a list as a terminal shows it."""
    return name.replace(SEPARATOR, r"\x06\x16")


def shown(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts with names that a terminal shows."""
    return {shown_name(name): count for name, count in counts.items()}


def errors() -> tuple[type[Exception], ...]:
    """Return how a broker's connection fails."""
    return (AMQPError, OSError) if redis is None else (AMQPError, OSError, redis.RedisError)
