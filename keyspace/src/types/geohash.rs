//! Geohashes: a place on Earth as one number, so that places near each other have numbers with a common beginning, and
//! a sorted set can hold them as scores.
//!
//! ```text
//! longitude -180 ..= 180, latitude -85.05112878 ..= 85.05112878, each halved up to 26 times
//! bits      one of longitude, one of latitude, and so on: the more steps, the smaller the cell
//! score     52 bits: 26 steps; a cell of fewer steps is all scores that begin with its bits
//! ```
//! A search looks through the cell around its centre and the eight around that, and measures what it finds.
//! Every expression is Redis's to the last operation, because a last bit of difference shows in replies.
//!
//! Source: redis 7.2 `src/geohash.c`, `src/geohash_helper.c`, `src/geo.c`.

use std::ops::Range;

/// Halvings of a score.
pub const STEPS_MAX: u32 = 26;
/// The greatest longitude; the least is its negative.
pub const LONGITUDE_MAX: f64 = 180.0;
/// The greatest latitude; the least is its negative. Web Mercator goes no farther.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

const EARTH_RADIUS_M: f64 = 6_372_797.560856;
const MERCATOR_MAX_M: f64 = 20_037_726.37;
/// The bits of latitude; those of longitude are one to the left of them.
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Place {
    /// A place that a score can hold; `None` beyond the bounds.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let inside = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        inside.then_some(Place { longitude, latitude })
    }

    /// The score that holds it.
    pub fn score(self) -> u64 {
        Cell::around(self, STEPS_MAX, LATITUDE_MAX).bits
    }

    /// The place that a score holds: the middle of its cell.
    pub fn of_score(score: f64) -> Self {
        // Anything can be a score: what is negative wraps as it does in C.
        let bits = if score < 0.0 { score as i64 as u64 } else { score as u64 };
        let area = Cell { bits, steps: STEPS_MAX }.area();
        let middle = |range: (f64, f64), max: f64| ((range.0 + range.1) / 2.0).clamp(-max, max);
        Place {
            longitude: middle(area.longitude, LONGITUDE_MAX),
            latitude: middle(area.latitude, LATITUDE_MAX),
        }
    }

    /// The geohash that others use, of eleven characters: it halves latitudes from -90 to 90, so this is no prefix of
    /// a score. There are bits for ten characters; the last is always `0`.
    pub fn standard_geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::around(self, STEPS_MAX, 90.0).bits;
        std::array::from_fn(|at| match at {
            10 => b'0',
            at => ALPHABET[(bits >> (52 - (at + 1) * 5)) as usize & 31],
        })
    }

    /// The distance on a sphere, in metres: haversine.
    pub fn distance_m(self, other: Place) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance_m(self.latitude, other.latitude);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

fn latitude_distance_m(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (radians(to) - radians(from)).abs()
}

const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// All places whose geohashes begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// Two for each step.
    bits: u64,
    steps: u32,
}

/// The bounds of a cell, in degrees.
#[derive(Debug, Clone, Copy)]
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Cell {
    /// The cell of a place; latitudes are halved from `-latitude_max` to `latitude_max`.
    fn around(place: Place, steps: u32, latitude_max: f64) -> Self {
        let cells = (1u64 << steps) as f64;
        let offset = |degrees: f64, max: f64| ((degrees - -max) / (max - -max) * cells) as u32;
        let longitude = offset(place.longitude, LONGITUDE_MAX);
        let latitude = offset(place.latitude, latitude_max);
        Cell { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    fn area(self) -> Area {
        let cells = (1u64 << self.steps) as f64;
        let bounds = |index: u32, max: f64| {
            let scale = max - -max;
            let bound = |index: u32| -max + (f64::from(index) / cells) * scale;
            (bound(index), bound(index.wrapping_add(1)))
        };
        Area {
            longitude: bounds(gather(self.bits >> 1), LONGITUDE_MAX),
            latitude: bounds(gather(self.bits), LATITUDE_MAX),
        }
    }

    /// The cell so many to the east and to the north; it wraps at the edges of the map.
    fn neighbour(self, east: i32, north: i32) -> Self {
        let unused = 64 - 2 * self.steps;
        let latitude_mask = LATITUDE_BITS >> unused;
        let longitude_mask = (LATITUDE_BITS << 1) >> unused;
        // On the eastern and northern edge there is one bit more; only a step takes it away.
        let longitude = step(self.bits & LATITUDE_BITS << 1, longitude_mask, latitude_mask, east);
        let latitude = step(self.bits & LATITUDE_BITS, latitude_mask, longitude_mask, north);
        Cell { bits: longitude | latitude, ..self }
    }

    /// The scores of the places in it.
    fn scores(self) -> Range<u64> {
        let shift = 2 * (STEPS_MAX - self.steps);
        self.bits << shift..self.bits.wrapping_add(1) << shift
    }
}

/// Counts in every other bit, up or down: the bits between (`gaps`) carry over.
fn step(bits: u64, mask: u64, gaps: u64, by: i32) -> u64 {
    match by {
        0 => bits,
        1.. => (bits | gaps).wrapping_add(1) & mask,
        _ => bits.wrapping_sub(mask & mask.wrapping_neg()) & mask,
    }
}

/// Moves the bits of a number apart, to the even places.
fn spread(number: u32) -> u64 {
    [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f)]
        .into_iter()
        .chain([(2, 0x3333_3333_3333_3333), (1, LATITUDE_BITS)])
        .fold(u64::from(number), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// The reverse of [`spread`]; odd places are ignored.
fn gather(bits: u64) -> u32 {
    [(1, 0x3333_3333_3333_3333), (2, 0x0f0f_0f0f_0f0f_0f0f), (4, 0x00ff_00ff_00ff_00ff)]
        .into_iter()
        .chain([(8, 0x0000_ffff_0000_ffff), (16, 0xffff_ffff)])
        .fold(bits & LATITUDE_BITS, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

/// What a search looks in.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The middle.
    pub centre: Place,
    /// How far it reaches.
    pub extent: Extent,
    /// Metres to the unit of its lengths.
    pub unit_m: f64,
}

/// How far a search reaches, in the searcher's unit.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// In all directions.
    Radius(f64),
    /// East to west and north to south.
    Box {
        /// Along the parallels.
        width: f64,
        /// Along the meridians.
        height: f64,
    },
}

impl Shape {
    /// The distance from the centre, in metres, if the place is inside.
    pub fn reach_m(&self, place: Place) -> Option<f64> {
        match self.extent {
            Extent::Radius(radius) => {
                let distance_m = self.centre.distance_m(place);
                // A bound that is no number excludes nothing, as in C.
                #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "not the same where a number is NaN")]
                let inside = !(distance_m > radius * self.unit_m);
                inside.then_some(distance_m)
            }
            Extent::Box { width, height } => {
                let (width_m, height_m) = (width * self.unit_m, height * self.unit_m);
                let beside = Place { longitude: self.centre.longitude, latitude: place.latitude };
                let outside = latitude_distance_m(place.latitude, self.centre.latitude) > height_m / 2.0
                    || place.distance_m(beside) > width_m / 2.0;
                (!outside).then(|| self.centre.distance_m(place))
            }
        }
    }

    /// The ranges of scores that cover the shape, in the order in which Redis looks through them.
    pub fn score_ranges(&self) -> Vec<Range<u64>> {
        let bounds = self.bounds();
        let mut steps = steps_for(self.radius_m(), self.centre.latitude);
        let mut cell = Cell::around(self.centre, steps, LATITUDE_MAX);
        if steps > 1 && !bounds.are_within_neighbours_of(cell) {
            steps -= 1;
            cell = Cell::around(self.centre, steps, LATITUDE_MAX);
        }
        let needed = bounds.neighbours_needed(cell, steps);
        let mut cells: Vec<Cell> = vec![cell];
        let mut last = None;
        for (east, north) in NEIGHBOURS {
            let neighbour = cell.neighbour(east, north);
            // Where few cells go round the Earth, neighbours are the same cell: one is enough. As Redis does, only
            // the neighbour looked at last is compared.
            if needed(east, north) && last != Some(neighbour) {
                cells.push(neighbour);
                last = Some(neighbour);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// The farthest that it reaches.
    fn radius_m(&self) -> f64 {
        self.unit_m
            * match self.extent {
                Extent::Radius(radius) => radius,
                Extent::Box { width, height } => {
                    ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
                }
            }
    }

    fn bounds(&self) -> Bounds {
        let (half_width, half_height) = match self.extent {
            Extent::Radius(radius) => (radius, radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (half_width_m, half_height_m) = (self.unit_m * half_width, self.unit_m * half_height);
        let Place { longitude, latitude } = self.centre;
        let north = degrees(half_height_m / EARTH_RADIUS_M);
        // Parallels are shorter towards the poles: the side of the nearer one is the widest in degrees.
        let widest = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = degrees(half_width_m / EARTH_RADIUS_M / radians(widest).cos());
        Bounds {
            longitude: (longitude - east, longitude + east),
            latitude: (latitude - north, latitude + north),
        }
    }
}

/// East and north of the cell in the middle.
const NEIGHBOURS: [(i32, i32); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

/// How many steps make cells about as large as a circle.
fn steps_for(mut radius_m: f64, latitude: f64) -> u32 {
    if radius_m == 0.0 {
        return STEPS_MAX;
    }
    let mut steps = -1;
    while radius_m < MERCATOR_MAX_M {
        radius_m *= 2.0;
        steps += 1;
    }
    steps -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32).unsigned_abs()
}

/// What a shape lies in, in degrees: least and greatest.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Bounds {
    /// Whether the eight cells around one reach far enough.
    fn are_within_neighbours_of(&self, cell: Cell) -> bool {
        let area = |east, north| cell.neighbour(east, north).area();
        !(area(0, 1).latitude.1 < self.latitude.1
            || area(0, -1).latitude.0 > self.latitude.0
            || area(1, 0).longitude.1 < self.longitude.1
            || area(-1, 0).longitude.0 > self.longitude.0)
    }

    /// Which of the cells around one are of use: those on a side on which the cell itself does not reach far enough.
    fn neighbours_needed(&self, cell: Cell, steps: u32) -> impl Fn(i32, i32) -> bool + use<> {
        let (area, bounds) = (cell.area(), *self);
        let useless = [
            (0, -1, area.latitude.0 < bounds.latitude.0),
            (0, 1, area.latitude.1 > bounds.latitude.1),
            (-1, 0, area.longitude.0 < bounds.longitude.0),
            (1, 0, area.longitude.1 > bounds.longitude.1),
        ];
        move |east, north| {
            steps < 2
                || !useless.iter().any(|&(east_side, north_side, is_useless)| {
                    is_useless
                        && (east_side != 0 && east_side == east || north_side != 0 && north_side == north)
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(longitude: f64, latitude: f64) -> Place {
        Place::new(longitude, latitude).expect("on the map")
    }

    #[test]
    fn known_places_have_known_scores() {
        let palermo = place(13.361389, 38.115556);
        let catania = place(15.087269, 37.502669);
        assert_eq!((palermo.score(), catania.score()), (3_479_099_956_230_698, 3_479_447_370_796_909));
        assert_eq!(&Place::of_score(palermo.score() as f64).standard_geohash(), b"sqc8b49rny0");
        let decoded = |place: Place| Place::of_score(place.score() as f64);
        assert_eq!(format!("{:.4}", decoded(palermo).distance_m(decoded(catania))), "166274.1516");
    }

    #[test]
    fn beyond_the_map_there_is_no_place() {
        for (longitude, latitude) in
            [(180.1, 0.0), (-181.0, 0.0), (0.0, 85.06), (0.0, -90.0), (f64::NAN, 0.0)]
        {
            assert_eq!(Place::new(longitude, latitude), None);
        }
    }

    #[test]
    fn neighbours_wrap_at_the_edge_of_the_map() {
        let cell = Cell::around(place(179.9, 0.1), 4, LATITUDE_MAX);
        let east = cell.neighbour(1, 0);
        assert_eq!(east.area().longitude.0, -180.0);
        assert_eq!(east.neighbour(-1, 0), cell);
        assert_eq!(cell.neighbour(1, 1).neighbour(-1, -1), cell);
    }

    proptest! {
        #[test]
        fn bits_spread_and_gather(number: u32) {
            prop_assert_eq!(gather(spread(number)), number);
            prop_assert_eq!(gather(spread(number) | spread(!number) << 1), number);
        }

        /// The nine cells hold every place of a shape that does not reach round the Earth.
        #[test]
        fn what_is_in_a_shape_is_in_its_ranges(
            longitude in -120.0..120.0, latitude in -60.0..60.0,
            east in -8.0..8.0, north in -8.0..8.0,
            radius in 1.0..1_000_000.0,
        ) {
            let centre = place(longitude, latitude);
            let other = Place::of_score(place(longitude + east, latitude + north).score() as f64);
            for extent in [Extent::Radius(radius), Extent::Box { width: radius, height: radius * 1.5 }] {
                let shape = Shape { centre, extent, unit_m: 1.0 };
                let score = other.score();
                if shape.reach_m(other).is_some() {
                    prop_assert!(shape.score_ranges().iter().any(|range| range.contains(&score)));
                }
            }
        }
    }
}
