// ioredis as people use it: ioredis.js PORT PROTOCOL. With protocol 3 the client's defaults are left alone.
const assert = require("node:assert/strict");
const { Redis } = require("ioredis");

const port = Number(process.argv[2]);
const options = process.argv[3] === "3" ? { port } : { port, protocol: 2 };

async function main() {
  const redis = new Redis(options);
  const other = new Redis(options);
  await redis.flushall();

  // Strings, with options and bytes.
  assert.equal(await redis.set("s", "v"), "OK");
  assert.equal(await redis.set("s", "w", "NX"), null);
  assert.equal(await redis.get("s"), "v");
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  await redis.set(bytes, bytes);
  assert.deepEqual(await redis.getBuffer(bytes), bytes);
  assert.equal(await redis.incrby("n", 42), 42);
  assert.deepEqual(await redis.mget("s", "n", "none"), ["v", "42", null]);
  assert.equal(await redis.expire("s", 100), 1);

  // Collections.
  assert.equal(await redis.rpush("l", "a", "b", "c"), 3);
  assert.deepEqual(await redis.lrange("l", 0, -1), ["a", "b", "c"]);
  assert.equal(await redis.hset("h", { f: "1", g: "2" }), 2);
  assert.deepEqual({ ...(await redis.hgetall("h")) }, { f: "1", g: "2" });
  assert.equal(await redis.sadd("set", "a", "b"), 2);
  assert.deepEqual([...(await redis.smembers("set"))].sort(), ["a", "b"]);
  assert.equal(await redis.zadd("z", 1, "a", 2.5, "b"), 2);
  assert.equal(Number(await redis.zscore("z", "b")), 2.5);
  assert.deepEqual((await redis.zrange("z", 0, -1, "WITHSCORES")).flat().map(String), ["a", "1", "b", "2.5"]);

  // SCAN as a stream.
  await redis.mset(Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`scan:${at}`, at])));
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 50 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 500);

  // Pipelines and transactions; a watched key that changes aborts.
  const pipeline = redis.pipeline();
  for (let at = 0; at < 1000; at++) pipeline.set(`p:${at}`, at);
  assert.ok((await pipeline.exec()).every(([error, reply]) => error === null && reply === "OK"));
  assert.deepEqual(await redis.multi().set("t", 1).incr("t").exec(), [[null, "OK"], [null, 2]]);
  await redis.watch("t");
  await other.set("t", "changed");
  assert.equal(await redis.multi().set("t", "lost").exec(), null);
  assert.equal(await redis.get("t"), "changed");

  // A blocking pop that is served, and one that times out.
  const popped = redis.blpop("queue", 5);
  setTimeout(() => other.rpush("queue", "job"), 200);
  assert.deepEqual(await popped, ["queue", "job"]);
  assert.equal(await redis.blpop("queue", 0.2), null);

  // Errors arrive as errors and leave the connection usable.
  await assert.rejects(redis.lpush("s", "x"), /WRONGTYPE/);
  assert.match(await redis.info("persistence"), /loading:0/);
  await redis.select(3);
  assert.equal(await redis.get("s"), null);
  await redis.quit();
  await other.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
