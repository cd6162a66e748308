//! The geo commands: places are members of a sorted set, their scores are geohashes.

use resp::{Encoder, number};

use super::flags::{DENYOOM, READ, WRITE};
use super::sorted_set::{read, store, zadd};
use super::{DataSpec, Done, integer, keys, spec};
use crate::types::geohash::{Extent, Place, Shape};
use crate::types::listpack::Element;
use crate::types::long_double::LongDouble;
use crate::types::zset::{ScoreRange, Scored, ZSet};
use crate::{CommandError, Ctx};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("geoadd", geoadd, -5, WRITE | DENYOOM, keys::UPDATE_KEY, "3.2.0", "Adds places, or moves them."),
    spec("geodist", geodist, -4, READ, keys::READ_KEY, "3.2.0", "Tells how far two places are apart."),
    spec("geohash", geohash, -2, READ, keys::READ_KEY, "3.2.0", "Tells the standard geohashes of places."),
    spec("geopos", geopos, -2, READ, keys::READ_KEY, "3.2.0", "Tells the longitudes and latitudes of places."),
    spec("georadius", georadius, -6, WRITE | DENYOOM, keys::GEORADIUS, "3.2.0", "Lists or stores the places around a point."),
    spec("georadius_ro", georadius_ro, -6, READ, keys::READ_KEY, "3.2.10", "Lists the places around a point."),
    spec("georadiusbymember", georadiusbymember, -5, WRITE | DENYOOM, keys::GEORADIUS_BY_MEMBER, "3.2.0", "Lists or stores the places around another."),
    spec("georadiusbymember_ro", georadiusbymember_ro, -5, READ, keys::READ_KEY, "3.2.10", "Lists the places around another."),
    spec("geosearch", geosearch, -7, READ, keys::READ_KEY, "6.2.0", "Lists the places in a circle or a rectangle."),
    spec("geosearchstore", geosearchstore, -8, WRITE | DENYOOM, keys::STORE_ONE, "6.2.0", "Stores the places in a circle or a rectangle."),
];

fn geoadd(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let is_option =
        |word: &&&[u8]| [&b"nx"[..], b"xx", b"ch"].iter().any(|name| word.eq_ignore_ascii_case(name));
    let options = argv[2..].iter().take_while(is_option).count();
    let (head, words) = argv.split_at(2 + options);
    let has = |name: &[u8]| head[2..].iter().any(|word| word.eq_ignore_ascii_case(name));
    let (triples, rest) = words.as_chunks::<3>();
    if !rest.is_empty() || has(b"nx") && has(b"xx") {
        return Err(CommandError::Syntax);
    }
    let scores: Vec<number::Text> = triples
        .iter()
        .map(|[longitude, latitude, _]| Ok(number::format_i64(place(longitude, latitude)?.score() as i64)))
        .collect::<Result<_, CommandError>>()?;
    // What it does, and what the log holds, is ZADD.
    let mut zadd_argv: Vec<&[u8]> = vec![b"zadd"];
    zadd_argv.extend(&head[1..]);
    zadd_argv.extend(scores.iter().zip(triples).flat_map(|(score, [.., member])| [score.as_bytes(), member]));
    zadd(ctx, &zadd_argv, out)?;
    if ctx.has_changed() {
        ctx.propagate(&zadd_argv);
    }
    Ok(())
}

fn geodist(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let unit_m = match argv[4..] {
        [] => 1.0,
        [unit] => metres(unit)?,
        _ => return Err(CommandError::Syntax),
    };
    let places = read(ctx, argv[1])?.and_then(|zset| {
        let place = |member: &[u8]| zset.score(member).map(Place::of_score);
        Some((place(argv[2])?, place(argv[3])?))
    });
    match places {
        Some((from, to)) => write_distance(from.distance_m(to) / unit_m, out),
        None => out.null(),
    }
    Ok(())
}

fn geohash(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let zset = read(ctx, argv[1])?;
    out.array(argv.len() - 2);
    for member in &argv[2..] {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => out.bulk(&Place::of_score(score).standard_geohash()),
            None => out.null(),
        }
    }
    Ok(())
}

fn geopos(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let zset = read(ctx, argv[1])?;
    out.array(argv.len() - 2);
    for member in &argv[2..] {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => write_place(Place::of_score(score), out),
            None => out.null_array(),
        }
    }
    Ok(())
}

fn georadius(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::Radius { may_store: true }, out)
}

fn georadius_ro(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::Radius { may_store: false }, out)
}

fn georadiusbymember(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::RadiusByMember { may_store: true }, out)
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::RadiusByMember { may_store: false }, out)
}

fn geosearch(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::Search, out)
}

fn geosearchstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    search(ctx, argv, Form::SearchStore, out)
}

/// How a command says where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `key longitude latitude radius unit options`.
    Radius { may_store: bool },
    /// `key member radius unit options`.
    RadiusByMember { may_store: bool },
    /// `key options`.
    Search,
    /// `destination key options`.
    SearchStore,
}

fn search(ctx: &mut Ctx<'_>, argv: &[&[u8]], form: Form, out: &mut Encoder<'_>) -> Done {
    let source = argv[if form == Form::SearchStore { 2 } else { 1 }];
    let zset = read(ctx, source)?;
    let query = Query::parse(argv, form, zset)?;
    let (found, unit_m) = match (zset, query.shape()) {
        (Some(zset), Some(shape)) => (query.find(zset, &shape), shape.unit_m),
        _ => (Vec::new(), 1.0),
    };
    let Some(destination) = query.store else {
        write_found(&found, &query, unit_m, out);
        return Ok(());
    };
    let score =
        |found: &Found<'_>| if query.store_distances { found.distance_m / unit_m } else { found.score };
    let scored = |found: &Found<'_>| Scored { score: score(found), member: found.member.to_str() };
    let members: Vec<Scored> = found.iter().map(scored).collect();
    // Redis counts each of them as a change.
    ctx.add_dirty(members.len().saturating_sub(1));
    let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
    store(ctx, destination, members, event, out)
}

/// A place that a search found.
struct Found<'a> {
    member: Element<'a>,
    score: f64,
    place: Place,
    distance_m: f64,
}

/// What a search asks for.
#[derive(Debug, Default)]
struct Query<'a> {
    from: Option<From>,
    /// Stays open if the key is not there, and does not matter then.
    centre: Option<Place>,
    /// How far, and metres to its unit.
    extent: Option<(Extent, f64)>,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    order: Option<Order>,
    count: Option<usize>,
    /// The first places that are found will do.
    any: bool,
    store: Option<&'a [u8]>,
    store_distances: bool,
}

/// What the centre was given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Member,
    Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NearestFirst,
    FarthestFirst,
}

impl<'a> Query<'a> {
    fn parse(argv: &[&'a [u8]], form: Form, zset: Option<&ZSet>) -> Result<Self, CommandError> {
        let mut query = Query::default();
        let options = match form {
            Form::Radius { .. } => {
                query.centre = Some(place(argv[2], argv[3])?);
                query.extent = Some(circle(argv[4], argv[5])?);
                6
            }
            Form::RadiusByMember { .. } => {
                // Without the key neither the member nor the radius is looked at.
                if let Some(zset) = zset {
                    query.centre = Some(member_place(zset, argv[2])?);
                    query.extent = Some(circle(argv[3], argv[4])?);
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => {
                query.store = Some(argv[1]);
                3
            }
        };
        let mut words = &argv[options..];
        while let [name, rest @ ..] = words {
            words = &rest[query.take_option(&name.to_ascii_lowercase(), rest, form, zset)?..];
        }
        query.check(argv[0], form)?;
        Ok(query)
    }

    /// Takes an option; returns how many of the words behind its name belong to it.
    fn take_option(
        &mut self,
        name: &[u8],
        words: &[&'a [u8]],
        form: Form,
        zset: Option<&ZSet>,
    ) -> Result<usize, CommandError> {
        let may_store =
            matches!(form, Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true });
        match (name, words) {
            (b"withdist", _) => self.with_distance = true,
            (b"withhash", _) => self.with_hash = true,
            (b"withcoord", _) => self.with_place = true,
            (b"any", _) => self.any = true,
            (b"asc", _) => self.order = Some(Order::NearestFirst),
            (b"desc", _) => self.order = Some(Order::FarthestFirst),
            (b"count", [count, ..]) => {
                self.count = Some(parse_count(count)?);
                return Ok(1);
            }
            (b"store" | b"storedist", [key, ..]) if may_store => {
                self.store = Some(key);
                self.store_distances = name == b"storedist";
                return Ok(1);
            }
            (b"storedist", _) if form == Form::SearchStore => self.store_distances = true,
            _ if form.is_search() => return self.take_search_option(name, words, zset),
            _ => return Err(CommandError::Syntax),
        }
        Ok(0)
    }

    /// The same, for what GEOSEARCH alone takes: where from and how far, each in one of two ways.
    fn take_search_option(
        &mut self,
        name: &[u8],
        words: &[&[u8]],
        zset: Option<&ZSet>,
    ) -> Result<usize, CommandError> {
        match (name, words) {
            (b"frommember", [member, ..]) if self.from != Some(From::Place) => {
                self.centre = zset.map(|zset| member_place(zset, member)).transpose()?;
                self.from = Some(From::Member);
                Ok(1)
            }
            (b"fromlonlat", [longitude, latitude, ..]) if self.from != Some(From::Member) => {
                self.centre = Some(place(longitude, latitude)?);
                self.from = Some(From::Place);
                Ok(2)
            }
            (b"byradius", [radius, unit, ..]) if !matches!(self.extent, Some((Extent::Box { .. }, _))) => {
                self.extent = Some(circle(radius, unit)?);
                Ok(2)
            }
            (b"bybox", [width, height, unit, ..]) if !matches!(self.extent, Some((Extent::Radius(_), _))) => {
                self.extent = Some(rectangle(width, height, unit)?);
                Ok(3)
            }
            _ => Err(CommandError::Syntax),
        }
    }

    fn check(&self, command: &[u8], form: Form) -> Done {
        let command = String::from_utf8_lossy(command);
        let error = if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if form.is_search() && self.from.is_none() {
            format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {command}")
        } else if form.is_search() && self.extent.is_none() {
            format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {command}")
        } else if self.any && self.count.is_none() {
            "ERR the ANY argument requires COUNT argument".into()
        } else {
            return Ok(());
        };
        Err(CommandError::other(error))
    }

    /// Where to look, if the key is there.
    fn shape(&self) -> Option<Shape> {
        let (extent, unit_m) = self.extent?;
        Some(Shape { centre: self.centre?, extent, unit_m })
    }

    fn find<'z>(&self, zset: &'z ZSet, shape: &Shape) -> Vec<Found<'z>> {
        let limit = self.count.filter(|_| self.any).unwrap_or(usize::MAX);
        let places = shape.score_ranges().into_iter().flat_map(|scores| {
            let (min, max) = (scores.start as f64, scores.end as f64);
            zset.range(zset.score_range(&ScoreRange { min, max, min_open: false, max_open: true }))
        });
        let measured = places.filter_map(|(member, score)| {
            let place = Place::of_score(score);
            let distance_m = shape.reach_m(place)?;
            Some(Found { member, score, place, distance_m })
        });
        let mut found: Vec<Found<'_>> = measured.take(limit).collect();
        // The nearest are meant by a count, unless any will do.
        match self.order.or((self.count.is_some() && !self.any).then_some(Order::NearestFirst)) {
            Some(Order::NearestFirst) => found.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m)),
            Some(Order::FarthestFirst) => found.sort_by(|a, b| b.distance_m.total_cmp(&a.distance_m)),
            None => {}
        }
        found.truncate(self.count.unwrap_or(usize::MAX));
        found
    }
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
}

// Arguments.

fn double(text: &[u8]) -> Result<f64, CommandError> {
    number::parse_f64(text).ok_or(CommandError::NotAFloat)
}

fn length(text: &[u8], not_a_number: &'static str) -> Result<f64, CommandError> {
    number::parse_f64(text).ok_or(CommandError::other(not_a_number))
}

fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, CommandError> {
    let (longitude, latitude) = (double(longitude)?, double(latitude)?);
    Place::new(longitude, latitude).ok_or_else(|| {
        CommandError::other(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

fn member_place(zset: &ZSet, member: &[u8]) -> Result<Place, CommandError> {
    let score = zset.score(member);
    score.map(Place::of_score).ok_or(CommandError::other("ERR could not decode requested zset member"))
}

fn circle(radius: &[u8], unit: &[u8]) -> Result<(Extent, f64), CommandError> {
    let radius = length(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::other("ERR radius cannot be negative"));
    }
    Ok((Extent::Radius(radius), metres(unit)?))
}

fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Extent, f64), CommandError> {
    let width = length(width, "ERR need numeric width")?;
    let height = length(height, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::other("ERR height or width cannot be negative"));
    }
    Ok((Extent::Box { width, height }, metres(unit)?))
}

/// Metres to a unit.
fn metres(unit: &[u8]) -> Result<f64, CommandError> {
    match &unit.to_ascii_lowercase()[..] {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::other("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

fn parse_count(text: &[u8]) -> Result<usize, CommandError> {
    let count = usize::try_from(integer(text)?).ok().filter(|&count| count > 0);
    count.ok_or(CommandError::other("ERR COUNT must be > 0"))
}

// Replies.

fn write_found(found: &[Found<'_>], query: &Query<'_>, unit_m: f64, out: &mut Encoder<'_>) {
    let extras = [query.with_distance, query.with_hash, query.with_place];
    let extras = extras.into_iter().filter(|&wanted| wanted).count();
    out.array(found.len());
    for Found { member, score, place, distance_m } in found {
        if extras > 0 {
            out.array(1 + extras);
        }
        member.with_bytes(|member| out.bulk(member));
        if query.with_distance {
            write_distance(distance_m / unit_m, out);
        }
        if query.with_hash {
            out.integer(*score as i64);
        }
        if query.with_place {
            write_place(*place, out);
        }
    }
}

/// Four decimals are enough for any unit.
fn write_distance(distance: f64, out: &mut Encoder<'_>) {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    out.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}

fn write_place(place: Place, out: &mut Encoder<'_>) {
    out.array(2);
    for degrees in [place.longitude, place.latitude] {
        out.double_text(LongDouble::from_f64(degrees).format().as_bytes());
    }
}
