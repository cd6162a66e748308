//! Places. The replies were asked of a redis-server.

use crate::Session;

const PLACES: &str = "GEOADD g 13.5 38.2 Palermo 15.087269 37.502669 Catania 2.349014 48.864716 Paris";

#[test]
fn places_are_added_and_measured() {
    Session::new().check(&[
        ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2\r\n"),
        ("GEOADD g CH NX 13.361389 38.115556 Palermo 2.349014 48.864716 Paris", ":1\r\n"),
        ("GEOADD g XX CH 13.5 38.2 Palermo", ":1\r\n"),
        ("GEOADD g NX XX 1 2 a", "-ERR syntax error\r\n"),
        ("GEOADD g 1 2 a 3", "-ERR syntax error\r\n"),
        ("GEOADD g 1 86 a", "-ERR invalid longitude,latitude pair 1.000000,86.000000\r\n"),
        ("GEOADD g x 2 a", "-ERR value is not a valid float\r\n"),
        ("GEOADD g nx ch xx", "-ERR syntax error\r\n"),
        ("GEODIST g Palermo Catania", "$11\r\n159522.6271\r\n"),
        ("GEODIST g Palermo Catania km", "$8\r\n159.5226\r\n"),
        ("GEODIST g Palermo none", "$-1\r\n"),
        ("GEODIST none a b", "$-1\r\n"),
        ("GEODIST g Palermo Catania parsec", "-ERR unsupported unit provided. please use M, KM, FT, MI\r\n"),
        ("GEODIST g Palermo Catania m x", "-ERR syntax error\r\n"),
        ("GEODIST g Paris Paris ft", "$6\r\n0.0000\r\n"),
        ("GEOHASH g Palermo none Paris", "*3\r\n$11\r\nsqc974n7hu0\r\n$-1\r\n$11\r\nu09tvrw3xg0\r\n"),
        ("GEOHASH none a", "*1\r\n$-1\r\n"),
        (
            "GEOPOS g Palermo none",
            "*2\r\n*2\r\n$20\r\n13.50000053644180298\r\n$19\r\n38.2000006309196749\r\n*-1\r\n",
        ),
    ]);
}

#[test]
fn searches_find_what_is_near_in_order() {
    let mut session = Session::new();
    session.run(PLACES);
    session.check(&[
        ("GEORADIUS g 15 37 200 km", "*2\r\n$7\r\nPalermo\r\n$7\r\nCatania\r\n"),
        ("GEORADIUS g 15 37 200 km WITHDIST WITHHASH WITHCOORD DESC", "*2\r\n*4\r\n$7\r\nPalermo\r\n$8\r\n187.8442\r\n:3479101704338477\r\n*2\r\n$20\r\n13.50000053644180298\r\n$19\r\n38.2000006309196749\r\n*4\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n:3479447370796909\r\n*2\r\n$20\r\n15.08726745843887329\r\n$20\r\n37.50266842333162032\r\n"),
        ("GEORADIUS g 15 37 5000 mi COUNT 1", "*1\r\n$7\r\nCatania\r\n"),
        ("GEORADIUS g 15 37 5000 km COUNT 1 ANY", "*1\r\n$7\r\nPalermo\r\n"),
        ("GEORADIUS g 15 37 5000 km ANY", "-ERR the ANY argument requires COUNT argument\r\n"),
        ("GEORADIUS g 15 37 -1 km", "-ERR radius cannot be negative\r\n"),
        ("GEORADIUS g 15 37 x km", "-ERR need numeric radius\r\n"),
        ("GEORADIUS g 15 37 1 km COUNT 0", "-ERR COUNT must be > 0\r\n"),
        ("GEORADIUS g 15 37 1 km COUNT x", "-ERR value is not an integer or out of range\r\n"),
        ("GEORADIUS g 15 37 200 km STORE dst", ":2\r\n"),
        ("ZRANGE dst 0 -1 WITHSCORES", "*4\r\n$7\r\nPalermo\r\n$16\r\n3479101704338477\r\n$7\r\nCatania\r\n$16\r\n3479447370796909\r\n"),
        ("GEORADIUS g 15 37 200 km STOREDIST dst", ":2\r\n"),
        ("ZRANGE dst 0 -1 WITHSCORES", "*4\r\n$7\r\nCatania\r\n$16\r\n56.4412578701582\r\n$7\r\nPalermo\r\n$17\r\n187.8441787033274\r\n"),
        ("GEORADIUS g 15 37 200 km STOREDIST dst WITHDIST", "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options\r\n"),
        ("GEORADIUS_RO g 15 37 200 km STORE dst", "-ERR syntax error\r\n"),
        ("GEORADIUSBYMEMBER g Palermo 200 km ASC", "*2\r\n$7\r\nPalermo\r\n$7\r\nCatania\r\n"),
        ("GEORADIUSBYMEMBER g none 200 km", "-ERR could not decode requested zset member\r\n"),
        ("GEORADIUSBYMEMBER none none bad unit", "*0\r\n"),
        ("GEORADIUSBYMEMBER none none 1 km STORE dst", ":0\r\n"),
        ("EXISTS dst", ":0\r\n"),
        ("GEORADIUSBYMEMBER_RO g Palermo 0 m", "*1\r\n$7\r\nPalermo\r\n"),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 200 km DESC", "*2\r\n$7\r\nCatania\r\n$7\r\nPalermo\r\n"),
        ("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHCOORD WITHDIST", "*2\r\n*3\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n*2\r\n$20\r\n15.08726745843887329\r\n$20\r\n37.50266842333162032\r\n*3\r\n$7\r\nPalermo\r\n$8\r\n187.8442\r\n*2\r\n$20\r\n13.50000053644180298\r\n$19\r\n38.2000006309196749\r\n"),
        ("GEOSEARCH g FROMLONLAT 15 37 FROMMEMBER Paris BYRADIUS 1 m", "-ERR syntax error\r\n"),
        ("GEOSEARCH g BYRADIUS 1 km WITHDIST ASC", "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH\r\n"),
        ("GeoSearch g FROMMEMBER Paris WITHDIST ASC COUNT 3", "-ERR exactly one of BYRADIUS and BYBOX can be specified for GeoSearch\r\n"),
        ("GEOSEARCH g FROMMEMBER none BYRADIUS 1 km", "-ERR could not decode requested zset member\r\n"),
        ("GEOSEARCH g FROMMEMBER Paris BYBOX 1 -1 km", "-ERR height or width cannot be negative\r\n"),
        ("GEOSEARCH g FROMMEMBER Paris BYBOX x 1 km", "-ERR need numeric width\r\n"),
        ("GEOSEARCH g FROMMEMBER Paris BYBOX 1 x km", "-ERR need numeric height\r\n"),
        ("GEOSEARCH g FROMMEMBER Paris BYBOX 1 1 km BYRADIUS 1 km", "-ERR syntax error\r\n"),
        ("GEOSEARCH g FROMMEMBER Paris BYBOX 1 1 km STORE a", "-ERR syntax error\r\n"),
        ("GEOSEARCH none FROMMEMBER Paris BYBOX 1 1 km", "*0\r\n"),
        ("GEOSEARCHSTORE dst g FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1", ":1\r\n"),
        ("GEOSEARCHSTORE dst g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST", ":2\r\n"),
        ("GEOSEARCHSTORE dst g FROMLONLAT 15 37 BYRADIUS 200 km WITHDIST", "-ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options\r\n"),
        ("GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m", ":0\r\n"),
        ("SET s v", "+OK\r\n"),
        ("GEOADD s 1 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("GEOPOS s a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("GEOSEARCH s BYRADIUS x", "-ERR wrong number of arguments for 'geosearch' command\r\n"),
    ]);
}

#[test]
fn coordinates_are_doubles_in_resp3_and_distances_are_not() {
    Session::resp3().check(&[
        ("GEOADD g 13.5 38.2 Palermo 15.087269 37.502669 Catania", ":2\r\n"),
        ("GEOPOS g Palermo none", "*2\r\n*2\r\n,13.50000053644180298\r\n,38.2000006309196749\r\n_\r\n"),
        ("GEODIST g Palermo none", "_\r\n"),
        ("GEODIST g Palermo Catania km", "$8\r\n159.5226\r\n"),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km WITHDIST WITHCOORD WITHHASH", "*1\r\n*4\r\n$7\r\nPalermo\r\n$6\r\n0.0000\r\n:3479101704338477\r\n*2\r\n,13.50000053644180298\r\n,38.2000006309196749\r\n"),
    ]);
}

#[test]
fn places_are_logged_as_scores() {
    let mut session = Session::new();
    session.check_effects(&[
        (PLACES, &["zadd g 3479101704338477 Palermo 3479447370796909 Catania 3663832805879806 Paris"]),
        (PLACES, &[]),
        ("GEOADD g NX ch 1 1 Palermo", &[]),
        (
            "GEOADD g XX ch 1 1 Palermo 1 1 None",
            &["zadd g XX ch 3377822707026402 Palermo 3377822707026402 None"],
        ),
        ("GEOADD g 1 91 Palermo", &[]),
        ("GEORADIUS g 15 37 200 km", &[]),
        ("GEORADIUS g 15 37 200 km STORE dst", &["GEORADIUS g 15 37 200 km STORE dst"]),
        (
            "GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m",
            &["GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m"],
        ),
        ("GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m", &[]),
    ]);
    session.run("GEOSEARCHSTORE dst g FROMLONLAT 15 37 BYRADIUS 9000 km");
    assert_eq!(session.events(), ["geosearchstore dst"]);
    assert_eq!(session.unit.dirty, 3, "each place is a change");
    session.run("GEORADIUSBYMEMBER g Catania 1 km STOREDIST dst");
    assert_eq!((session.unit.dirty, session.events()), (1, vec!["georadiusstore dst".to_owned()]));
    session.run("GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m");
    assert_eq!(session.unit.dirty, 1, "so is the deletion");
}

#[test]
fn keys_of_a_radius_are_its_source_and_its_destination() {
    let places = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = keyspace::commands::lookup(&words).expect("known");
        spec.keys.places(&words).into_iter().map(|(at, _)| words[at].to_vec()).collect::<Vec<_>>()
    };
    for (line, keys) in [
        ("GEORADIUS g 1 1 1 km", &[&b"g"[..]][..]),
        ("GEORADIUS g 1 1 1 km STORE d", &[b"g", b"d"]),
        ("GEORADIUS g 1 1 1 km STORE a STOREDIST d", &[b"g", b"d"]),
        ("GEORADIUSBYMEMBER g m 1 km STORE", &[b"g"]),
        ("GEORADIUSBYMEMBER g store 1 km", &[b"g"]),
        ("GEOSEARCHSTORE d g FROMMEMBER m BYRADIUS 1 m", &[b"d", b"g"]),
    ] {
        assert_eq!(places(line), keys, "{line}");
    }
}
