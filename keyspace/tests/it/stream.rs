//! Streams and consumer groups. The replies were asked of a valkey-server, whose streams are those of Redis 7.2.

use crate::Session;

#[test]
fn entries_are_added_listed_trimmed_and_deleted() {
    Session::new().check(&[
        ("XADD s 1-1 a 1 b 2", "$3\r\n1-1\r\n"),
        ("XADD s 1-1 a 1", "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"),
        ("XADD s 0-0 a 1", "-ERR The ID specified in XADD must be greater than 0-0\r\n"),
        ("XADD s 1-* a 2 b 3", "$3\r\n1-2\r\n"),
        ("XADD s 2 c 4", "$3\r\n2-0\r\n"),
        ("XADD s 3-1 a 1 b", "-ERR wrong number of arguments for 'xadd' command\r\n"),
        ("XADD s -5 a 1", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XADD s + a 1", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XADD n NOMKSTREAM 1-1 a 1", "$-1\r\n"),
        ("XADD n MAXLEN 1", "-ERR wrong number of arguments for 'xadd' command\r\n"),
        ("XADD s MAXLEN 1 MINID 2 9-9 a 1", "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible\r\n"),
        ("XADD s MAXLEN -1 9-9 a 1", "-ERR The MAXLEN argument must be >= 0.\r\n"),
        ("XADD s MAXLEN x 9-9 a 1", "-ERR value is not an integer or out of range\r\n"),
        ("XADD s LIMIT 5 9-9 a 1", "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy\r\n"),
        ("XADD s MAXLEN 5 LIMIT 5 9-9 a 1", "-ERR syntax error, LIMIT cannot be used without the special ~ option\r\n"),
        ("XADD s MAXLEN ~ 5 LIMIT -1 9-9 a 1", "-ERR The LIMIT argument must be >= 0.\r\n"),
        ("XLEN s", ":3\r\n"),
        ("XLEN none", ":0\r\n"),
        ("XRANGE s - +", "*3\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nc\r\n$1\r\n4\r\n"),
        ("XRANGE s 1 1", "*2\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n"),
        ("XRANGE s (1-1 (2", "*2\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nc\r\n$1\r\n4\r\n"),
        ("XRANGE s - + COUNT 1", "*1\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("XRANGE s - + COUNT 0", "*-1\r\n"),
        ("XRANGE s - + COUNT -3", "*-1\r\n"),
        ("XRANGE none - + COUNT 0", "*0\r\n"),
        ("XRANGE s - + COUNT", "-ERR syntax error\r\n"),
        ("XRANGE s - + COUNT x", "-ERR value is not an integer or out of range\r\n"),
        ("XRANGE s (18446744073709551615-18446744073709551615 +", "-ERR invalid start ID for the interval\r\n"),
        ("XRANGE s - (0-0", "-ERR invalid end ID for the interval\r\n"),
        ("XRANGE s x +", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XREVRANGE s + - COUNT 2", "*2\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nc\r\n$1\r\n4\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n"),
        ("XREVRANGE s (2 1-2", "*2\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nc\r\n$1\r\n4\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n3\r\n"),
        ("XDEL s 1-2 9-9", ":1\r\n"),
        ("XDEL s x", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XDEL none 1", ":0\r\n"),
        ("XADD big 18446744073709551615-18446744073709551615 a 1", "$41\r\n18446744073709551615-18446744073709551615\r\n"),
        ("XADD big * a 1", "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n"),
        ("XADD seq 5-18446744073709551615 a 1", "$22\r\n5-18446744073709551615\r\n"),
        ("XADD seq 5-* a 1", "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"),
        ("XTRIM s", "-ERR wrong number of arguments for 'xtrim' command\r\n"),
        ("XTRIM s MAXLEN", "-ERR wrong number of arguments for 'xtrim' command\r\n"),
        ("XTRIM s bogus 1", "-ERR syntax error\r\n"),
        ("XTRIM s MAXLEN = 1", ":1\r\n"),
        ("XTRIM s MINID 9", ":1\r\n"),
        ("XTRIM none MAXLEN 1", ":0\r\n"),
        ("XTRIM s LIMIT 0", "-ERR syntax error, XTRIM must be called with a trimming strategy\r\n"),
        ("XTRIM s LIMIT 1", "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy\r\n"),
        ("XADD s LIMIT 0 * a", "-ERR syntax error, LIMIT cannot be used without the special ~ option\r\n"),
        ("XADD s MAXLEN 5 LIMIT 5 *", "-ERR syntax error, LIMIT cannot be used without the special ~ option\r\n"),
        ("XTRIM s MAXLEN 1 LIMIT 1", "-ERR syntax error, LIMIT cannot be used without the special ~ option\r\n"),
        ("XLEN s", ":0\r\n"),
        ("TYPE s", "+stream\r\n"),
        ("OBJECT ENCODING s", "$6\r\nstream\r\n"),
        ("XADD e MAXLEN 0 1-1 a 1", "$3\r\n1-1\r\n"),
        ("XSETID e 5-5", "+OK\r\n"),
        ("XSETID e 3-3 ENTRIESADDED 7 MAXDELETEDID 2-2", "+OK\r\n"),
        ("XSETID e 1-1 MAXDELETEDID 2-2", "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id\r\n"),
        ("XSETID e 1-1 ENTRIESADDED -1", "-ERR entries_added must be positive\r\n"),
        ("XSETID e 1-1 BOGUS 1", "-ERR syntax error\r\n"),
        ("XSETID e x", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XSETID none 1-1", "-ERR no such key\r\n"),
        ("XADD e 7-0 a 1", "$3\r\n7-0\r\n"),
        ("XSETID e 6-0", "-ERR The ID specified in XSETID is smaller than the target stream top item\r\n"),
        ("XSETID e 8-0 ENTRIESADDED 0", "-ERR The entries_added specified in XSETID is smaller than the target stream length\r\n"),
        ("XSETID e 8-0 ENTRIESADDED 9", "+OK\r\n"),
        ("XREAD STREAMS s e 0 0", "*1\r\n*2\r\n$1\r\ne\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XREAD COUNT 1 STREAMS e 6", "*1\r\n*2\r\n$1\r\ne\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XREAD STREAMS e none $ 0", "*-1\r\n"),
        ("XREAD BLOCK 1 STREAMS e $", "*-1\r\n"),
        ("XREAD STREAMS e >", "-ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.\r\n"),
        ("XREAD STREAMS e x", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XREAD GROUP g c STREAMS e 0", "-ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.\r\n"),
        ("XREAD NOACK STREAMS e 0", "-ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.\r\n"),
        ("XREAD BLOCK x STREAMS e 0", "-ERR timeout is not an integer or out of range\r\n"),
        ("XREAD BLOCK -1 STREAMS e 0", "-ERR timeout is negative\r\n"),
        ("XREAD COUNT x STREAMS e 0", "-ERR value is not an integer or out of range\r\n"),
        ("XREAD COUNT 1 e 0", "-ERR syntax error\r\n"),
        ("SET str v", "+OK\r\n"),
        ("XADD str 1-1 a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("XREAD STREAMS str 0", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("XLEN str", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
}

#[test]
fn groups_deliver_claim_and_acknowledge() {
    Session::new().check(&[
        ("XADD s 1-0 a 1", "$3\r\n1-0\r\n"),
        ("XADD s 2-0 b 2", "$3\r\n2-0\r\n"),
        ("XADD s 3-0 c 3", "$3\r\n3-0\r\n"),
        ("XGROUP CREATE none g $", "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.\r\n"),
        ("XGROUP CREATE s g 0", "+OK\r\n"),
        ("XGROUP CREATE s g 0", "-BUSYGROUP Consumer Group name already exists\r\n"),
        ("XGROUP CREATE s x bad", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XGROUP CREATE s x 0 BOGUS", "-ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.\r\n"),
        ("XGROUP CREATE s x 0 ENTRIESREAD -2", "-ERR value for ENTRIESREAD must be positive or -1\r\n"),
        ("XGROUP CREATE s h $ ENTRIESREAD 3", "+OK\r\n"),
        ("XGROUP CREATE mk g $ MKSTREAM", "+OK\r\n"),
        ("XGROUP BOGUS s g", "-ERR unknown subcommand 'BOGUS'. Try XGROUP HELP.\r\n"),
        ("XREADGROUP GROUP g alice COUNT 2 STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("XREADGROUP GROUP g bob STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("XREADGROUP GROUP g bob STREAMS s >", "*-1\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s 0", "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s 1-0", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s $", "-ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.\r\n"),
        ("XREADGROUP GROUP none alice STREAMS s >", "-NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with GROUP option\r\n"),
        ("XREADGROUP GROUP g alice STREAMS none >", "-NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option\r\n"),
        ("XREADGROUP GROUP g alice NOACK BLOCK 0 s >", "-ERR syntax error\r\n"),
        ("XREADGROUP COUNT 1 NOACK STREAMS s mk > >", "-ERR Missing GROUP option for XREADGROUP\r\n"),
        ("XPENDING s g", "*4\r\n:3\r\n$3\r\n1-0\r\n$3\r\n3-0\r\n*2\r\n*2\r\n$5\r\nalice\r\n$1\r\n2\r\n*2\r\n$3\r\nbob\r\n$1\r\n1\r\n"),
        ("XPENDING s h", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n"),
        ("XPENDING s none", "-NOGROUP No such key 's' or consumer group 'none'\r\n"),
        ("XPENDING s g - + 10 bob", "*1\r\n*4\r\n$3\r\n3-0\r\n$3\r\nbob\r\n:0\r\n:1\r\n"),
        ("XPENDING s g - + 10 nobody", "*0\r\n"),
        ("XPENDING s g (1-0 + 10 alice", "*1\r\n*4\r\n$3\r\n2-0\r\n$5\r\nalice\r\n:0\r\n:3\r\n"),
        ("XPENDING s g - +", "-ERR syntax error\r\n"),
        ("XPENDING s g IDLE 0 - +", "-ERR syntax error\r\n"),
        ("XPENDING s g IDLE x - + 1", "-ERR value is not an integer or out of range\r\n"),
        ("XPENDING s g - + x", "-ERR value is not an integer or out of range\r\n"),
        ("XACK s g 1-0 9-9", ":1\r\n"),
        ("XACK s none 1-0", ":0\r\n"),
        ("XACK none g 1-0", ":0\r\n"),
        ("XACK s g x", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XDEL s 2-0", ":1\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s 0", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-0\r\n*-1\r\n"),
        ("XCLAIM s g carol 0 2-0 3-0 9-0", "*1\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("XCLAIM s g carol 0 1-0", "*0\r\n"),
        ("XCLAIM s g carol 0 1-0 FORCE JUSTID", "*1\r\n$3\r\n1-0\r\n"),
        ("XCLAIM s g carol 0 1-0 BOGUS", "-ERR Unrecognized XCLAIM option 'BOGUS'\r\n"),
        ("XCLAIM s g carol x 1-0", "-ERR Invalid min-idle-time argument for XCLAIM\r\n"),
        ("XCLAIM s none carol 0 1-0", "-NOGROUP No such key 's' or consumer group 'none'\r\n"),
        ("XCLAIM s g carol 0 1-0 IDLE x", "-ERR Invalid IDLE option argument for XCLAIM\r\n"),
        ("XCLAIM s g carol 0 1-0 TIME x", "-ERR Invalid TIME option argument for XCLAIM\r\n"),
        ("XCLAIM s g carol 0 1-0 RETRYCOUNT x", "-ERR Invalid RETRYCOUNT option argument for XCLAIM\r\n"),
        ("XCLAIM s g carol 0 1-0 LASTID x", "-ERR Invalid stream ID specified as stream command argument\r\n"),
        ("XPENDING s g", "*4\r\n:2\r\n$3\r\n1-0\r\n$3\r\n3-0\r\n*1\r\n*2\r\n$5\r\ncarol\r\n$1\r\n2\r\n"),
        ("XAUTOCLAIM s g dave 0 0", "*3\r\n$3\r\n0-0\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n*0\r\n"),
        ("XAUTOCLAIM s g dave 0 0 COUNT 1 JUSTID", "*3\r\n$3\r\n3-0\r\n*1\r\n$3\r\n1-0\r\n*0\r\n"),
        ("XAUTOCLAIM s g dave 0 (1-0 JUSTID", "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n3-0\r\n*0\r\n"),
        ("XAUTOCLAIM s g dave 99999999 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n"),
        ("XAUTOCLAIM s g dave 0 0 COUNT 0", "-ERR COUNT must be > 0\r\n"),
        ("XAUTOCLAIM s g dave 0 0 BOGUS", "-ERR syntax error\r\n"),
        ("XAUTOCLAIM s g dave x 0", "-ERR Invalid min-idle-time argument for XAUTOCLAIM\r\n"),
        ("XAUTOCLAIM s none dave 0 0", "-NOGROUP No such key 's' or consumer group 'none'\r\n"),
        ("XINFO STREAM s", "*20\r\n$6\r\nlength\r\n:2\r\n$15\r\nradix-tree-keys\r\n:1\r\n$16\r\nradix-tree-nodes\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n3-0\r\n$20\r\nmax-deleted-entry-id\r\n$3\r\n2-0\r\n$13\r\nentries-added\r\n:3\r\n$23\r\nrecorded-first-entry-id\r\n$3\r\n1-0\r\n$6\r\ngroups\r\n:2\r\n$11\r\nfirst-entry\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n$10\r\nlast-entry\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("XINFO GROUPS s", "*2\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:4\r\n$7\r\npending\r\n:2\r\n$17\r\nlast-delivered-id\r\n$3\r\n3-0\r\n$12\r\nentries-read\r\n:3\r\n$3\r\nlag\r\n:0\r\n*12\r\n$4\r\nname\r\n$1\r\nh\r\n$9\r\nconsumers\r\n:0\r\n$7\r\npending\r\n:0\r\n$17\r\nlast-delivered-id\r\n$3\r\n3-0\r\n$12\r\nentries-read\r\n:3\r\n$3\r\nlag\r\n:0\r\n"),
        ("XINFO STREAM none", "-ERR no such key\r\n"),
        ("XINFO CONSUMERS s none", "-NOGROUP No such consumer group 'none' for key name 's'\r\n"),
        ("XINFO STREAM s BOGUS", "-ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.\r\n"),
        ("XINFO BOGUS s", "-ERR unknown subcommand 'BOGUS'. Try XINFO HELP.\r\n"),
        ("XGROUP CREATECONSUMER s g eve", ":1\r\n"),
        ("XGROUP CREATECONSUMER s g eve", ":0\r\n"),
        ("XGROUP CREATECONSUMER s none eve", "-NOGROUP No such consumer group 'none' for key name 's'\r\n"),
        ("XGROUP DELCONSUMER s g dave", ":2\r\n"),
        ("XGROUP DELCONSUMER s g nobody", ":0\r\n"),
        ("XGROUP SETID s g 2-0", "+OK\r\n"),
        ("XGROUP SETID s g $ ENTRIESREAD 5", "+OK\r\n"),
        ("XGROUP SETID s none 0", "-NOGROUP No such consumer group 'none' for key name 's'\r\n"),
        ("XGROUP SETID s g 0 ENTRIESREAD", "-ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP.\r\n"),
        ("XINFO GROUPS s", "*2\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:4\r\n$7\r\npending\r\n:0\r\n$17\r\nlast-delivered-id\r\n$3\r\n3-0\r\n$12\r\nentries-read\r\n:5\r\n$3\r\nlag\r\n:-2\r\n*12\r\n$4\r\nname\r\n$1\r\nh\r\n$9\r\nconsumers\r\n:0\r\n$7\r\npending\r\n:0\r\n$17\r\nlast-delivered-id\r\n$3\r\n3-0\r\n$12\r\nentries-read\r\n:3\r\n$3\r\nlag\r\n:0\r\n"),
        ("XGROUP DESTROY s h", ":1\r\n"),
        ("XGROUP DESTROY s h", ":0\r\n"),
        ("XGROUP DESTROY none h", "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.\r\n"),
    ]);
}

#[test]
fn resp3_has_maps() {
    Session::resp3().check(&[
        ("XADD s 1-0 a 1", "$3\r\n1-0\r\n"),
        ("XGROUP CREATE s g 0", "+OK\r\n"),
        ("XREAD STREAMS s none 0 0", "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XREAD STREAMS none 0", "_\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s >", "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XREADGROUP GROUP g alice STREAMS s >", "_\r\n"),
        ("XRANGE s - +", "*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XRANGE s - + COUNT 0", "_\r\n"),
        ("XINFO STREAM s", "%10\r\n$6\r\nlength\r\n:1\r\n$15\r\nradix-tree-keys\r\n:1\r\n$16\r\nradix-tree-nodes\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n1-0\r\n$20\r\nmax-deleted-entry-id\r\n$3\r\n0-0\r\n$13\r\nentries-added\r\n:1\r\n$23\r\nrecorded-first-entry-id\r\n$3\r\n1-0\r\n$6\r\ngroups\r\n:1\r\n$11\r\nfirst-entry\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n$10\r\nlast-entry\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("XINFO GROUPS s", "*1\r\n%6\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:1\r\n$17\r\nlast-delivered-id\r\n$3\r\n1-0\r\n$12\r\nentries-read\r\n:1\r\n$3\r\nlag\r\n:0\r\n"),
        ("XPENDING s g", "*4\r\n:1\r\n$3\r\n1-0\r\n$3\r\n1-0\r\n*1\r\n*2\r\n$5\r\nalice\r\n$1\r\n1\r\n"),
        ("XACK s g 1-0", ":1\r\n"),
        ("XPENDING s g", "*4\r\n:0\r\n_\r\n_\r\n_\r\n"),
    ]);
}

#[test]
fn the_log_holds_ids_and_exact_trims() {
    let mut session = Session::new();
    session.keyspace.limits.stream_node_max_entries = 2;
    session.check_effects(&[
        ("XADD s 1-1 a 1", &["XADD s 1-1 a 1"]),
        ("XADD s 1-* a 1", &["XADD s 1-2 a 1"]),
        ("XADD s * a 1", &["XADD s 1700000000000-0 a 1"]),
        ("XADD s MAXLEN ~ 2 * a 1", &["XADD s MAXLEN = 2 1700000000000-1 a 1"]),
        ("XADD s MAXLEN ~ 9 LIMIT 7 * a 1", &["XADD s MAXLEN = 3 LIMIT 7 1700000000000-2 a 1"]),
        ("XADD s MAXLEN 9 5-5 a 1", &[]),
        ("XADD none NOMKSTREAM * a 1", &[]),
        ("XTRIM s MAXLEN ~ 2", &[]),
        ("XTRIM s MINID ~ 1700000000000-2", &["XTRIM s MINID = 1700000000000-2"]),
        ("XTRIM s MINID ~ 1700000000000-2", &[]),
        ("XADD s MAXLEN 1 1700000000001-0 a 1", &["XADD s MAXLEN 1 1700000000001-0 a 1"]),
        ("XTRIM s MAXLEN 0", &["XTRIM s MAXLEN 0"]),
        ("XADD s MINID ~ 5 1700000000002-0 a 1", &["XADD s MINID = 1700000000002-0 1700000000002-0 a 1"]),
        ("XDEL s 9-9", &[]),
        ("XDEL s 1700000000002-0", &["XDEL s 1700000000002-0"]),
        ("XSETID s 1800000000000-0", &["XSETID s 1800000000000-0"]),
    ]);
}

#[test]
fn the_log_holds_who_was_handed_what() {
    let mut session = Session::new();
    session.run("XADD s 1-0 a 1");
    session.run("XADD s 2-0 a 1");
    session.run("XADD s 3-0 a 1");
    session.check_effects(&[
        ("XGROUP CREATE s g 0", &["XGROUP CREATE s g 0"]),
        (
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            &[
                "XCLAIM s g c 0 1-0 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-0",
                "XGROUP SETID s g 1-0 ENTRIESREAD 1",
            ],
        ),
        ("XREADGROUP GROUP g c STREAMS s 0", &[]),
        (
            "XREADGROUP GROUP g d NOACK COUNT 1 STREAMS s >",
            &["XGROUP CREATECONSUMER s g d", "XGROUP SETID s g 2-0 ENTRIESREAD 2"],
        ),
        ("XREADGROUP GROUP g e STREAMS s 0", &["XGROUP CREATECONSUMER s g e"]),
        (
            "XCLAIM s g d 0 1-0 2-0 RETRYCOUNT 7",
            &["XCLAIM s g d 0 1-0 TIME 1700000000000 RETRYCOUNT 7 FORCE JUSTID LASTID 2-0"],
        ),
        ("XCLAIM s g f 0 2-0", &["XGROUP CREATECONSUMER s g f"]),
        ("XCLAIM s g f 0 9-0 LASTID 5-0", &["XGROUP SETID s g 5-0 ENTRIESREAD 2"]),
        ("XDEL s 1-0", &["XDEL s 1-0"]),
        (
            "XAUTOCLAIM s g c 0 0",
            &["XCLAIM s g d 0 1-0 TIME 1700000000000 RETRYCOUNT 7 FORCE JUSTID LASTID 5-0"],
        ),
        ("XACK s g 1-0", &[]),
        ("XGROUP DESTROY s g", &["XGROUP DESTROY s g"]),
    ]);
}

#[test]
fn each_change_is_an_event() {
    let mut session = Session::new();
    for (line, events) in [
        ("XADD s 1-0 a 1", &["xadd s"][..]),
        ("XADD s MAXLEN 1 2-0 a 1", &["xadd s", "xtrim s"]),
        ("XGROUP CREATE s g 0", &["xgroup-create s"]),
        ("XREADGROUP GROUP g c STREAMS s >", &["xgroup-createconsumer s"]),
        ("XACK s g 2-0", &[]),
        ("XGROUP SETID s g 0", &["xgroup-setid s"]),
        ("XGROUP CREATECONSUMER s g d", &["xgroup-createconsumer s"]),
        ("XGROUP DELCONSUMER s g d", &["xgroup-delconsumer s"]),
        ("XGROUP DESTROY s g", &["xgroup-destroy s"]),
        ("XDEL s 2-0", &["xdel s"]),
        ("XSETID s 3-0", &["xsetid s"]),
    ] {
        session.run(line);
        assert_eq!(session.events(), events, "{line}");
    }
}

#[test]
fn idle_times_are_told_and_decide_who_may_claim() {
    let mut session = Session::new();
    session.run("XADD s 1-0 a 1");
    session.run("XGROUP CREATE s g 0");
    session.run("XREADGROUP GROUP g c STREAMS s >");
    session.now_ms += 50;
    session.check(&[
        ("XPENDING s g - + 1", "*1\r\n*4\r\n$3\r\n1-0\r\n$1\r\nc\r\n:50\r\n:1\r\n"),
        ("XPENDING s g IDLE 51 - + 1", "*0\r\n"),
        ("XCLAIM s g d 51 1-0", "*0\r\n"),
        ("XCLAIM s g d 50 1-0 IDLE 20 JUSTID", "*1\r\n$3\r\n1-0\r\n"),
        ("XPENDING s g - + 1", "*1\r\n*4\r\n$3\r\n1-0\r\n$1\r\nd\r\n:20\r\n:1\r\n"),
        ("XAUTOCLAIM s g c 21 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n"),
        (
            "XREADGROUP GROUP g d STREAMS s 0",
            "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n",
        ),
        ("XPENDING s g - + 1", "*1\r\n*4\r\n$3\r\n1-0\r\n$1\r\nd\r\n:0\r\n:2\r\n"),
    ]);
}

#[test]
fn a_copy_and_its_original_go_their_own_ways() {
    let mut session = Session::new();
    session.run("XADD s 1-0 a 1");
    session.run("XGROUP CREATE s g 0");
    session.run("XREADGROUP GROUP g c STREAMS s >");
    session.check(&[
        ("COPY s t", ":1\r\n"),
        ("XADD t 2-0 a 1", "$3\r\n2-0\r\n"),
        ("XACK t g 1-0", ":1\r\n"),
        ("XLEN s", ":1\r\n"),
        ("XACK s g 1-0", ":1\r\n"),
    ]);
}

#[test]
fn a_client_that_waits_is_told_what_it_waits_for() {
    let mut session = Session::new();
    session.may_block = true;
    session.run("XADD s 5-1 a 1");
    session.run("XGROUP CREATE s g $");
    assert_eq!(session.run("XREAD COUNT 1 BLOCK 250 STREAMS s t $ 0"), "");
    let block = session.unit.block.take().expect("it waits");
    assert_eq!((block.timeout_ms, block.type_name, block.wakes_without_it), (Some(250), "stream", false));
    let again = block.again.expect("what $ meant");
    let words: Vec<&[u8]> = again.iter().map(|word| &word[..]).collect();
    assert_eq!(words.join(&b' '), b"XREAD COUNT 1 BLOCK 250 STREAMS s t 5-1 0");
    assert_eq!(session.run("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"), "");
    let block = session.unit.block.take().expect("it waits");
    assert_eq!((block.timeout_ms, block.wakes_without_it, block.again), (None, true, None));
    session.run("XADD s 6-1 a 1");
    assert_eq!(session.unit.ready.len(), 1);
    session.run("DEL s");
    assert_eq!(session.unit.ready.len(), 1);
}

#[test]
fn keys_stand_behind_streams() {
    let keys = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = keyspace::commands::lookup(&words).expect("known");
        spec.keys.places(&words).into_iter().map(|(at, _)| words[at].to_vec()).collect::<Vec<_>>()
    };
    for (line, expected) in [
        ("XREAD STREAMS a b 0 0", &[&b"a"[..], b"b"][..]),
        ("XREAD COUNT 5 BLOCK 0 STREAMS a $", &[b"a"]),
        ("XREADGROUP GROUP streams c NOACK STREAMS a >", &[b"a"]),
        ("XREAD STREAMS a b 0", &[b"a"]),
        ("XREAD a b 0 0", &[]),
    ] {
        assert_eq!(keys(line), expected, "{line}");
    }
}

/// An exact count would visit every node for a figure that only monitors read.
#[test]
fn the_radix_tree_of_a_long_stream_is_judged_by_its_beginning() {
    let mut session = Session::new();
    session.keyspace.limits.stream_node_max_entries = 1;
    let mut figures = |len: usize, more: usize| {
        (len..len + more).for_each(|n| _ = session.run(&format!("XADD s {}-0 f v", n + 1)));
        let info = session.run("XINFO STREAM s");
        let figure = |name: &str| -> usize {
            let (_, rest) = info.split_once(&format!("{name}\r\n:")).expect(name);
            rest.split_once('\r').and_then(|(figure, _)| figure.parse().ok()).expect(name)
        };
        (figure("radix-tree-keys"), figure("radix-tree-nodes"))
    };
    let ((keys, nodes), (more_keys, more_nodes)) = (figures(0, 1000), figures(1000, 9000));
    assert_eq!((keys, more_keys), (1000, 10_000));
    let ratio = more_nodes as f64 / (10 * nodes) as f64;
    assert!((0.95..1.05).contains(&ratio), "{nodes} nodes to {keys} keys, {more_nodes} to {more_keys}");
}

/// The entries behind a deleted one were out of reach, and the next start refused what a rewrite had written.
#[test]
fn an_id_that_is_set_back_leaves_no_deleted_entry_behind_it() {
    for entries_max in [1, 2, 100] {
        let mut session = Session::new();
        session.keyspace.limits.stream_node_max_entries = entries_max;
        for line in [
            "XADD k 1-1 a b",
            "XADD k 2-1 a b",
            "XDEL k 2-1",
            "XSETID k 2-1 ENTRIESADDED 2 MAXDELETEDID 0-1",
            "XSETID k 1-5",
            "XADD k 1-6 c d",
            "XADD k 2-1 e f",
        ] {
            assert!(!session.run(line).starts_with('-'), "{line}");
        }
        session.check(&[
            ("XRANGE k 1-6 1-6", "*1\r\n*2\r\n$3\r\n1-6\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("XREVRANGE k 2-0 1-6", "*1\r\n*2\r\n$3\r\n1-6\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("XRANGE k 2-1 +", "*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\ne\r\n$1\r\nf\r\n"),
            ("XDEL k 1-6", ":1\r\n"),
            ("XTRIM k MINID 2", ":1\r\n"),
            ("XLEN k", ":1\r\n"),
        ]);
    }
}

/// XTRIM left a node of deleted entries only. Its master was ahead of what was added after XSETID; XDEL of that ended the
/// process, and the next start refused what had been saved of it.
#[test]
fn what_is_added_once_all_entries_of_a_node_were_trimmed_is_found_and_saved() {
    for trim in ["XTRIM k MINID 3", "XTRIM k MINID = 5-0", "XTRIM k MAXLEN 0"] {
        let mut session = Session::new();
        for (line, expected) in [
            ("XADD k 1-1 f v", "$3\r\n1-1\r\n"),
            ("XADD k 5-1 f v", "$3\r\n5-1\r\n"),
            ("XDEL k 5-1", ":1\r\n"),
            (trim, ":1\r\n"),
            ("XSETID k 5-1 ENTRIESADDED 2 MAXDELETEDID 0-1", "+OK\r\n"),
            ("XSETID k 0-2", "+OK\r\n"),
            ("XADD k 0-3 f v", "$3\r\n0-3\r\n"),
            ("COPY k saved", ":1\r\n"),
            ("XDEL k 0-3", ":1\r\n"),
            ("XLEN k", ":0\r\n"),
            (
                "XADD k 0-3 f v",
                "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n",
            ),
        ] {
            assert_eq!(session.run(line), expected, "{trim}: {line}");
        }
        let saved = session.keyspace.entry(0, b"saved", 0).expect("a copy");
        let saved = keyspace::rdb::dump(saved.value(), true);
        let again = keyspace::rdb::restore(&saved, session.keyspace.rdb_shapes());
        assert!(again.is_ok(), "{trim}: {again:?}");
    }
}

/// Redis 7.0 sets an ID below the greatest deleted one, and logs that it did.
#[test]
fn what_a_log_says_of_an_id_is_put_right() {
    for (line, expected) in [
        ("XSETID k 3-0", "last 3-0 deleted 3-0 added 3"),
        ("XSETID k 1-0 ENTRIESADDED 1", "last 2-0 deleted 2-0 added 2"),
        ("XSETID k 4-0 MAXDELETEDID 9-0", "last 4-0 deleted 4-0 added 3"),
    ] {
        let mut session = Session::new();
        for line in ["XADD k 1-0 f v", "XADD k 2-0 f v", "XADD k 5-0 f v", "XDEL k 5-0"] {
            session.run(line);
        }
        assert!(session.run(line).starts_with("-ERR The ID specified"), "{line}");
        session.keyspace.start_loading();
        assert_eq!(session.run(line), "+OK\r\n");
        session.keyspace.end_loading();
        let info = session.run("XINFO STREAM k");
        let word = |name: &str| info.split_once(&format!("{name}\r\n")).expect(name).1.to_owned();
        let id = |name: &str| word(name).lines().nth(1).expect("an ID").to_owned();
        let added = word("entries-added").lines().next().expect("a number").replace(':', "");
        let (last, deleted) = (id("last-generated-id"), id("max-deleted-entry-id"));
        assert_eq!(format!("last {last} deleted {deleted} added {added}"), expected, "{line}");
    }
}
