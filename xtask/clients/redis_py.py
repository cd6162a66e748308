"""redis-py as people use it: redis_py.py PORT PROTOCOL. With protocol 3 the client's defaults are left alone."""

import sys
import threading
import time

import redis

port, protocol = int(sys.argv[1]), int(sys.argv[2])
options = {} if protocol == 3 else {"protocol": protocol}
r = redis.Redis(port=port, decode_responses=True, **options)
raw = redis.Redis(port=port, **options)


def same(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


assert r.ping()
r.flushall()

# Strings, with options and bytes.
assert r.set("s", "v") and r.get("s") == "v"
assert r.set("s", "w", nx=True) is None
same(r.getset("s", "x"), "v")
raw.set(b"\x00\xff", bytes(range(256)))
same(raw.get(b"\x00\xff"), bytes(range(256)))
same([r.incr("n"), r.incrby("n", 41), r.incrbyfloat("f", 0.5)], [1, 42, 0.5])
same(r.mget("s", "n", "none"), ["x", "42", None])
assert r.expire("s", 100) and 0 < r.ttl("s") <= 100 and r.persist("s")

# Collections.
same(r.rpush("l", "a", "b", "c"), 3)
same([r.lrange("l", 0, -1), r.lpop("l", 2), r.llen("l")], [["a", "b", "c"], ["a", "b"], 1])
same(r.hset("h", mapping={"f": "1", "g": "2"}), 2)
same([r.hgetall("h"), r.hmget("h", "g", "none"), r.hincrby("h", "f", 4)], [{"f": "1", "g": "2"}, ["2", None], 5])
same(r.sadd("set", "a", "b"), 2)
same([r.smembers("set"), r.sismember("set", "a")], [{"a", "b"}, 1])
same(r.zadd("z", {"a": 1, "b": 2.5}), 2)
same(r.zscore("z", "b"), 2.5)
same([tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)], [("a", 1.0), ("b", 2.5)])
same(r.zincrby("z", 0.25, "a"), 1.25)

# SCAN and its iterators.
r.mset({f"scan:{at}": at for at in range(500)})
same(len(set(r.scan_iter("scan:*", count=50))), 500)
same(sorted(r.hscan_iter("h")), [("f", "5"), ("g", "2")])

# Pipelines and transactions; a watched key that changes aborts.
plain = r.pipeline(transaction=False)
for at in range(1000):
    plain.set(f"p:{at}", at)
assert all(plain.execute())
same(r.pipeline().set("t", "1").incr("t").get("t").execute(), [True, 2, "2"])
with r.pipeline() as watched:
    watched.watch("t")
    r.set("t", "changed")
    watched.multi()
    watched.set("t", "lost")
    try:
        watched.execute()
        raise AssertionError("EXEC ignored a changed key")
    except redis.WatchError:
        pass
same(r.get("t"), "changed")

# A blocking pop that is served, and one that times out.
threading.Timer(0.2, lambda: raw.rpush("queue", "job")).start()
same(list(r.blpop("queue", timeout=5)), ["queue", "job"])
before = time.monotonic()
assert r.blpop("queue", timeout=0.2) is None and time.monotonic() - before >= 0.15

# Errors arrive as errors and leave the connection usable.
try:
    r.lpush("s", "x")
    raise AssertionError("a list command on a string")
except redis.ResponseError as error:
    assert "WRONGTYPE" in str(error)
assert r.info()["loading"] == 0
same(r.config_get("appendonly"), {"appendonly": "yes"})
same(r.client_getname() or None, None)
other = redis.Redis(port=port, db=3, client_name="check", **options)
assert other.set("k", "v") and r.get("k") is None and other.client_getname() in (b"check", "check")
