//! The requests that `cargo xtask differ` sends: their words are explained there.

#[rustfmt::skip]
const STRING: &[&str] = &[
    "SET K E [NX|XX] [GET] [EXAT 4102444800]", "SET K N|F [KEEPTTL]", "SET K E EX|PX|EXAT 0|-1|x|9223372036854775807", "GET K",
    "GETDEL K", "GETEX K [PERSIST|EXAT 4102444800]", "GETSET K E", "SETNX K E", "SETEX|PSETEX K 0|-1|x E", "MGET K K K",
    "MSET K E K N [K]", "MSETNX K E K E", "APPEND K V", "STRLEN K", "INCR|DECR K", "INCRBY|DECRBY K N", "INCRBYFLOAT K F|N",
    "SETRANGE K I V", "GETRANGE|SUBSTR K I I", "LCS K K [LEN]", "LCS K K IDX [MINMATCHLEN I] [WITHMATCHLEN]",
];

#[rustfmt::skip]
const BITMAP: &[&str] = &[
    "SETBIT K B 0|1|1|2", "GETBIT K B", "BITCOUNT K", "BITCOUNT K I I [BIT|BYTE]", "BITPOS K 0|1|2 [I]",
    "BITPOS K 0|1 I I [BIT|BYTE]", "BITOP AND|OR|XOR|NOT K K", "BITOP AND|OR|XOR K K K K",
    "BITFIELD K [OVERFLOW WRAP|SAT] INCRBY T B N [SET T #I I] [GET T B]", "BITFIELD K SET T B N INCRBY T #I I",
    "BITFIELD_RO K GET T B [GET T #I]", "SET K E", "GET K", "DEL K",
];

/// Peers do not log that such a request has made a key, or a string longer, if it fails then.
const BITFIELD_FAIL: &[&str] = &["BITFIELD K OVERFLOW FAIL INCRBY T B N [SET T #I I] [GET T B]"];

#[rustfmt::skip]
const LIST: &[&str] = &[
    "LPUSH|RPUSH K V V [V V V]", "LPUSHX|RPUSHX K V", "LPOP|RPOP K [I]", "LLEN K", "LRANGE K I I", "LRANGE K 0 -1", "LINDEX K I",
    "LSET K I V", "LINSERT K BEFORE|AFTER|x V V", "LREM K I V", "LTRIM K I -1", "LPOS K V [RANK I] [COUNT I] [MAXLEN I]",
    "LMOVE K K LEFT|RIGHT LEFT|RIGHT", "RPOPLPUSH K K", "LMPOP I K K LEFT|RIGHT [COUNT I]", "SORT K ALPHA [ASC|DESC] [LIMIT I I]",
    "SORT K LIMIT I I STORE K", "RPUSH K V V V V V V V V V V",
];

/// 7.2 has other words for a time that is too long.
#[rustfmt::skip]
const WAITING: &[&str] = &[
    "MULTI ; BLPOP|BRPOP K K 0|-1 ; EXEC", "MULTI ; BLMOVE K K LEFT|RIGHT LEFT|RIGHT 0 ; BLMPOP 0 2 K K LEFT|RIGHT [COUNT I] ; EXEC",
    "MULTI ; BZPOPMIN|BZPOPMAX K K 0 ; EXEC", "MULTI ; BZMPOP 0 2 K K MIN|MAX [COUNT I] ; EXEC",
];

/// Of a list, which has an order.
const UNSORTED: &[&str] = &["SORT K BY NOSORT [GET #] [LIMIT I I] [STORE K]"];

/// Weights and data beside the elements `V`.
#[rustfmt::skip]
const SORT: &[&str] = &[
    "MSET w_v1 I w_v2 I w_v3 1.5 w_1 I w_v5 I", "HSET d_v1|d_v2|d_v4|d_7 f E g I", "HDEL d_v1|d_v2 f g", "DEL w_v2|w_v5",
    "SORT K BY w_* [GET #] [GET d_*->f] [LIMIT I I] [DESC]", "SORT K BY d_*->g [GET w_*] [LIMIT I I] [DESC]",
    "~SORT K BY w_* ALPHA GET # GET w_*", "SORT K BY w_* GET d_*->f STORE k5 ; LRANGE k5 0 -1", "SORT_RO K BY w_* [GET #] [DESC]",
];

#[rustfmt::skip]
const SET: &[&str] = &[
    "SADD K V V [V V V]", "SADD K N [N N N]", "SREM K V N", "SMOVE K K V", "SISMEMBER K V", "SMISMEMBER K V N", "SCARD K",
    "~SMEMBERS K", "~SRANDMEMBER K 1000", "~SINTER|SUNION|SDIFF K K [K]", "SINTERCARD I K K [LIMIT I]",
    "SINTERSTORE|SUNIONSTORE|SDIFFSTORE K K [K K]", "~SSCAN K 0 COUNT 1000 [MATCH *1*]", "SORT K ALPHA", "SORT K [DESC] [STORE k4]",
];

/// Of all members: of some each server takes its own, and such it is if the count is gone.
const POP: &[&str] = &["~SPOP K 1000"];

#[rustfmt::skip]
const HASH: &[&str] = &[
    "HSET K V E [V E V N]", "HMSET K V E [V]", "HSETNX K V E", "HGET K V", "HMGET K V V", "HDEL K V V", "HLEN K", "HSTRLEN K V",
    "HEXISTS K V", "~HGETALL|HKEYS|HVALS K", "HINCRBY K V N", "HINCRBYFLOAT K V F", "~HRANDFIELD K 1000 [WITHVALUES]",
    "~HSCAN K 0 COUNT 1000 [MATCH *1*]",
];

#[rustfmt::skip]
const ZSET: &[&str] = &[
    "ZADD K [NX|XX] [CH] S V [S V S V]", "ZADD K [XX] [GT|LT] [INCR] S V", "ZADD K NX GT S V", "ZINCRBY K S V", "ZREM K V V",
    "ZCARD K", "ZSCORE K V", "ZMSCORE K V V", "ZCOUNT K R R", "ZRANGE K I I [REV] [WITHSCORES]",
    "ZRANGE K R R BYSCORE [REV] [LIMIT 0|1|3 I] [WITHSCORES]", "ZREVRANGE K I I [WITHSCORES]",
    "ZRANGEBYSCORE|ZREVRANGEBYSCORE K R R [WITHSCORES] [LIMIT 0|1|3 I]",
    "ZRANGESTORE K K I I [REV]", "ZRANGESTORE K K R R BYSCORE [LIMIT 0|1|3 I]", "ZPOPMIN|ZPOPMAX K [I]",
    "ZMPOP I K K MIN|MAX [COUNT I]", "ZREMRANGEBYRANK K I I", "ZREMRANGEBYSCORE K R R",
    "ZUNION|ZINTER|ZDIFF 2 K K [WITHSCORES]", "ZUNION|ZINTER 2 K K WEIGHTS S S [AGGREGATE SUM|MIN|MAX] [WITHSCORES]",
    "ZUNIONSTORE|ZINTERSTORE|ZDIFFSTORE K I K K [K]", "ZINTERSTORE|ZUNIONSTORE K 2 K K [AGGREGATE MIN|MAX|x]", "ZINTERCARD I K K [LIMIT I]",
    "~ZSCAN K 0 COUNT 1000", "~ZRANDMEMBER K 1000 [WITHSCORES]",
];

/// Of members with one score: of others such ranges are what each server finds first.
#[rustfmt::skip]
const LEX: &[&str] = &[
    "ZADD lex 0 V 0 V", "ZLEXCOUNT lex L L", "ZRANGE lex L L BYLEX [REV] [LIMIT 0|1|3 I]",
    "ZRANGEBYLEX|ZREVRANGEBYLEX lex L L [LIMIT 0|1|3 I]", "ZREMRANGEBYLEX lex L L",
];

/// 7.2 has given them a word more.
const RANK: &[&str] = &["ZRANK|ZREVRANK K V"];

/// Of a sorted set.
const IN_PLACE: &[&str] = &["SORT K ALPHA [BY nosort] [DESC]"];

/// Keys of all types.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "SET K E|N", "RPUSH K V V", "SADD K V N", "SADD K N N", "HSET K V E", "ZADD K S V", "XADD K NEW f E", "DEL|UNLINK K [K]",
];

#[rustfmt::skip]
const GENERIC: &[&str] = &[
    "EXISTS|TOUCH K K K",
    "TYPE K", "RENAME|RENAMENX K K", "COPY K K [DB 0|1|99] [REPLACE]", "MOVE K 0|1|99|x", "EXPIREAT K 4102444800 [NX|XX|GT|LT]",
    "EXPIRE|PEXPIRE K x|9223372036854775807 [XX]", "PEXPIREAT K 4102444800000|4102444801000 [GT|LT]", "PERSIST K", "TTL|PTTL nothing",
    "EXPIRETIME|PEXPIRETIME K", "~KEYS *", "~SCAN 0 COUNT 1000 [TYPE string|hash] [MATCH k?]", "DBSIZE", "SELECT 0|0|1", "SWAPDB 0 1",
    "FLUSHDB [ASYNC|SYNC|x]", "MULTI ; SET ^K E ; INCR ^K ; LPUSH K V ; GET ^K ; EXEC", "MULTI ; NONE ; EXEC",
    "WATCH K ; SET ^K E ; MULTI ; GET ^K ; EXEC", "WATCH K ; MULTI ; TYPE K ; DISCARD", "APPEND|STRLEN|INCR K [V]", "LPOP|SCARD|HLEN|ZCARD|LLEN K",
    "GETRANGE K I I", "SINTERSTORE|ZUNIONSTORE K K", "ZUNION 2 K K", "SORT K [ALPHA]", "PFADD|PFCOUNT K", "SETBIT K B 1", "HINCRBY K V N", "LPOS K V",
    "BITCOUNT K", "ECHO E", "PING [E]", "GETDEL K", "RESTORE K 0 E", "LCS K K",
];

/// Valkey calls a key that such a time takes away expired, not deleted.
const PAST: &[&str] = &["EXPIREAT|PEXPIREAT K 4102444800|1 [NX|XX|GT|LT]", "EXPIRE|PEXPIRE K -1 [XX]"];

const OBJECT: &[&str] = &["OBJECT REFCOUNT|FREQ|ENCODING nothing"];

#[rustfmt::skip]
const HYPERLOGLOG: &[&str] = &[
    "PFADD K E E", "PFADD K E [E E E E]", "PFADD K", "PFCOUNT K", "PFCOUNT K K", "PFMERGE K K K", "GET K", "STRLEN K",
    "PFDEBUG DECODE|ENCODING K", "PFDEBUG TODENSE|GETREG K", "DEL K",
    "RPUSH list V", "PFADD|PFCOUNT list|K", "PFMERGE list K", "PFMERGE K list K", "PFCOUNT K list|absent",
    "PFDEBUG DECODE|ENCODING|TODENSE|GETREG|x list|absent|K [x]",
];

#[rustfmt::skip]
const GEO: &[&str] = &[
    "GEOADD K [NX|XX] [CH] LON LAT M LON LAT M", "GEOADD K LON LAT M", "GEODIST K M M [U]", "GEOHASH K M M", "GEOPOS K M M",
    "GEORADIUS K LON LAT D U [WITHDIST] [WITHCOORD] [WITHHASH] [ASC|DESC]",
    "GEORADIUS K LON LAT D U STORE|STOREDIST d", "ZRANGE d 0 -1",
    "GEOSEARCH K FROMLONLAT LON LAT BYBOX D D U [WITHCOORD] [ASC|DESC]",
    "GEOSEARCHSTORE d K FROMLONLAT LON LAT BYBOX D D U [STOREDIST]",
];

/// Valkey has words of its own for a member that is not there.
#[rustfmt::skip]
const GEO_MEMBER: &[&str] = &[
    "GEORADIUSBYMEMBER K M D U [COUNT 3 ANY] [WITHDIST]", "GEOSEARCH K FROMMEMBER M BYRADIUS D U [WITHDIST] [ASC|DESC]",
    "GEOSEARCH K FROMMEMBER M BYRADIUS D U ANY",
];

#[rustfmt::skip]
const STREAM: &[&str] = &[
    "XADD K NEW f E", "XADD K NEW f E g E", "XADD K [NOMKSTREAM] NEW E E", "XADD K MAXLEN ~|= I NEW f E",
    "XADD K MINID ~|= OLD NEW f E", "XTRIM K MAXLEN|MINID [~] I", "XTRIM K MINID ~ OLD LIMIT I", "XLEN K", "XDEL K OLD OLD",
    "XRANGE K -|ID|OLD +|ID|OLD [COUNT I]", "XREVRANGE K +|OLD -|ID [COUNT I]", "XREAD [COUNT I] STREAMS K K OLD ID|$",
    "XGROUP CREATE K G $|0|OLD [MKSTREAM] [ENTRIESREAD I]", "XGROUP SETID K G $|0|OLD [ENTRIESREAD I]",
    "XGROUP DELCONSUMER K G C", "XGROUP DESTROY K G", "XACK K G OLD OLD", "XPENDING K G", "XINFO STREAM K",
    "@XPENDING K G [IDLE 0] -|ID|OLD|x +|ID|OLD I|9 [C]",
    // 7.0 makes no consumer that gets nothing, so it is there already.
    "XGROUP CREATECONSUMER K G C ; XREADGROUP GROUP ^G ^C COUNT I [NOACK] STREAMS ^K >|>|0|ID",
    "XGROUP CREATECONSUMER K G C ; XCLAIM ^K ^G ^C 0 OLD OLD [FORCE] [JUSTID] [RETRYCOUNT I] [LASTID OLD]",
    "XGROUP CREATECONSUMER K G C ; XAUTOCLAIM ^K ^G ^C 0 0|ID [COUNT I] [JUSTID]",
    // 7.0 sets IDs below the greatest deleted one, so that one is set first. What it deleted behind them stays, stops MINID, and
    // counts for its nodes.
    "DEL s ; XADD s 1-1 a E ; XADD s 5-1 a E ; XADD s 6-1 b E ; XDEL s 1-1|5-1|6-1 6-1 ; XSETID s 7-0 [ENTRIESADDED 9] MAXDELETEDID 0-1 ; XSETID s 5-5|3-3|0-1|2",
    "XADD s 3-*|6-1|NEW b E ; XRANGE s 3-0|- + ; XREVRANGE s + 3-0|-", "XDEL s 3-0|3-1|5-1|6-1", "XTRIM s MAXLEN I",
    "COPY K K REPLACE",
];

/// Valkey counts on where 7.2 and 7.0 no longer know how many entries a group has read.
const STREAM_LAG: &[&str] = &["XINFO GROUPS K"];

/// What 7.2 has added to.
const STREAM_INFO: &[&str] = &["@XINFO CONSUMERS K G", "@XINFO STREAM K FULL [COUNT I]"];

/// What is asked about these is where their keys stand, and what becomes of them: words need not make sense.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "COMMAND GETKEYS|GETKEYSANDFLAGS SET K E [GET] [EX I]", "COMMAND GETKEYS|GETKEYSANDFLAGS MSET|MSETNX K E [K E] [K]",
    "COMMAND GETKEYSANDFLAGS BITFIELD K [OVERFLOW WRAP] [GET u8 I] [SET u8 I E] [GET u4]",
    "COMMAND GETKEYSANDFLAGS LMPOP|SINTERCARD|ZUNION|ZMPOP I K [K K] [LEFT]",
    "COMMAND GETKEYSANDFLAGS BLMPOP|BZMPOP|ZUNIONSTORE|ZDIFFSTORE K I K [K K] [LEFT]",
    "COMMAND GETKEYSANDFLAGS SORT K [BY E] [STORE d] [LIMIT I I] [STORE K]", "COMMAND GETKEYSANDFLAGS SORT_RO K [GET E]",
    "COMMAND GETKEYSANDFLAGS GEORADIUS K I I D U [WITHDIST] [STORE|STOREDIST d] [COUNT I]",
    "COMMAND GETKEYSANDFLAGS GEORADIUSBYMEMBER K M D U [ASC] [STORE d]",
    "COMMAND GETKEYSANDFLAGS XREAD [COUNT I] [BLOCK I] STREAMS K [K] ID [ID]",
    "COMMAND GETKEYSANDFLAGS XREADGROUP GROUP G C [NOACK] STREAMS K [K] ID",
    "COMMAND GETKEYSANDFLAGS MIGRATE h I K I I [COPY] [AUTH E] [REPLACE]",
    "COMMAND GETKEYSANDFLAGS BITOP AND K K [K]", "COMMAND GETKEYSANDFLAGS BLPOP|BZPOPMIN|SDIFFSTORE|PFMERGE|DEL K K [K] [I]",
    "COMMAND GETKEYSANDFLAGS OBJECT|MEMORY|XINFO|XGROUP|PING|NONE ENCODING|USAGE|STREAM|CREATE|PING K [G] [ID]",
    "COMMAND GETKEYS|GETKEYSANDFLAGS GET|COPY|RENAME|RENAMENX|LCS|SMOVE|EXISTS|PFCOUNT|GEOSEARCHSTORE K [K] [E]",
    "COMMAND GETKEYS|GETKEYSANDFLAGS SORT|XREAD|MIGRATE K",
];

/// Words of the syntax that stand for nothing, or for nothing good, with keys of all types.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "RESTORE K 0|-1|x E [REPLACE|ABSTTL|x] [IDLETIME I] [FREQ 256]", "~SORT|SORT_RO K [BY x|w_*] [LIMIT I x|1] [GET x] [x|ASC]",
    "~SSCAN|HSCAN|ZSCAN K x|0|-1 [COUNT x|0|1] [MATCH x] [x]", "SPOP nobody no-count|-2", "GETEX K EX|PX|EXAT|PXAT|x x|-1|0 [PERSIST]",
    "~SRANDMEMBER|HRANDFIELD|ZRANDMEMBER K x|-1|1.5|-9223372036854775808 [WITHVALUES|WITHSCORES|x]", "COPY K K [DB x|-1] [REPLACE] [x]",
    "~MEMORY USAGE K [SAMPLES x|-1|0] [SAMPLES 1] [x]", "EXPIREAT K x|-1|4102444800 [NX] [XX] [GT] [LT]", "LMPOP x|0|1|2 K K LEFT|x [COUNT 0|x]",
    "ZMPOP x|0|1|2 K K MIN|x [COUNT 0|x]", "SINTERCARD|ZINTERCARD x|0|1|2 K K [LIMIT x|-1]", "ZRANGESTORE K nobody L L BYLEX|BYSCORE|x [LIMIT I x] [REV]",
    "ZRANGE nobody L|R L|R BYLEX|BYSCORE [LIMIT I x|1] [REV] [WITHSCORES]", "GEOSEARCH|GEORADIUS_RO K [FROMMEMBER m1] [FROMLONLAT x|1 1] [BYRADIUS 1 m|x] [COUNT x|0] [ANY]",
    "GEOSEARCHSTORE K K FROMMEMBER m1|x BYRADIUS 1|x m|x [WITHDIST] [COUNT x|0|1] [STOREDIST]", "GEOADD K [NX] [XX] x|1|181 1|x m1", "PFADD|PFCOUNT|PFMERGE K [K]",
];

/// What may be put out of order, and still says the same everywhere.
const ON_REFUSAL: &[&[&str]] =
    &[STRING, BITMAP, LIST, SET, HASH, ZSET, TYPES, GENERIC, PAST, GEO, GEO_MEMBER, REFUSED, REFUSED];

/// 7.2 has other words than 7.0.
const REFUSED_STREAMS: &[&[&str]] = &[STREAM, TYPES];

/// Requests of a kind, and who is asked the same.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) peers: &'static [&'static str],
    /// Whether the keys hold what may be expanded.
    pub(super) collections: bool,
    /// Whether all that they hold is the same in the end.
    pub(super) same_data: bool,
    /// Whether words are put out of order.
    pub(super) garbled: bool,
    /// Whether their logs say the same of it: 7.0 does not log what a group has read beside what it claims, and neither
    /// peer a consumer that claimed nothing, or what a BITFIELD has changed that failed.
    pub(super) same_effects: bool,
    pub(super) templates: &'static [&'static [&'static str]],
}

const BOTH: &[&str] = &["redis", "valkey"];

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    Group { name: "string",      peers: BOTH,        collections: false, same_data: true,  garbled: false, same_effects: true,  templates: &[STRING] },
    Group { name: "bitmap",      peers: BOTH,        collections: false, same_data: true,  garbled: false, same_effects: true,  templates: &[BITMAP] },
    Group { name: "bitfield",    peers: BOTH,        collections: false, same_data: true,  garbled: false, same_effects: false, templates: &[BITMAP, BITFIELD_FAIL] },
    Group { name: "list",        peers: BOTH,        collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[LIST, UNSORTED, WAITING, SORT] },
    Group { name: "set",         peers: BOTH,        collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[SET, POP, SORT] },
    Group { name: "hash",        peers: BOTH,        collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[HASH] },
    Group { name: "zset",        peers: BOTH,        collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[ZSET, LEX, RANK, WAITING, IN_PLACE] },
    Group { name: "generic",     peers: BOTH,        collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[TYPES, GENERIC, OBJECT] },
    Group { name: "past",        peers: &["redis"],  collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[TYPES, GENERIC, PAST] },
    Group { name: "hyperloglog", peers: BOTH,        collections: false, same_data: true,  garbled: false, same_effects: true,  templates: &[HYPERLOGLOG] },
    Group { name: "geo",         peers: &["redis"],  collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[GEO, GEO_MEMBER] },
    Group { name: "geo-area",    peers: &["valkey"], collections: true,  same_data: true,  garbled: false, same_effects: true,  templates: &[GEO] },
    Group { name: "stream",      peers: &["redis"],  collections: false, same_data: true,  garbled: false, same_effects: false, templates: &[STREAM, STREAM_LAG] },
    Group { name: "stream-info", peers: &["valkey"], collections: false, same_data: false, garbled: false, same_effects: true,  templates: &[STREAM, STREAM_INFO] },
    Group { name: "keys",        peers: &["redis"],  collections: false, same_data: true,  garbled: false, same_effects: true,  templates: &[KEYS] },
    Group { name: "refused",     peers: &["redis"],  collections: false, same_data: true,  garbled: true,  same_effects: true,  templates: ON_REFUSAL },
    Group { name: "refused-at-streams", peers: &["valkey"], collections: false, same_data: true, garbled: true, same_effects: false, templates: REFUSED_STREAMS },
];
