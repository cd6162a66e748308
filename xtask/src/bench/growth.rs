//! `growth`: five million keys, one SET after another, each timed: what a table does to the one that finds it full.
//!
//! A round trip also has what the machine does in between, which the floor shows; SLOWLOG has the server's own clock.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, Better, Samples, fresh_dir, quantile, table};
use crate::client::Value;
use crate::server::{Party, Server, free_port};
use crate::workspace;

const ROWS: [&str; 5] = [
    "longest SET, ms",
    "SETs above 1 ms",
    "p99.99 SET, ms",
    "longest by SLOWLOG, ms",
    "above 1 ms by SLOWLOG",
];
const OPTIONS: [&str; 6] =
    ["--appendonly", "no", "--slowlog-log-slower-than", "1000", "--slowlog-max-len", "100000"];

/// The part `growth`.
pub(super) fn growth(bench: &Bench) -> Result<String> {
    let keys = 5_000_000 / bench.scale;
    let floor = Party { name: "floor", program: workspace::build("floor", &["--example", "floor"])? };
    let mut samples = Samples::new();
    for round in 0..bench.rounds {
        for party in bench.order(round).chain([&floor]) {
            for (row, value) in
                ROWS.iter().zip(values(bench, party, keys)?).filter(|(_, value)| !value.is_nan())
            {
                samples.entry((String::from(*row), party.name)).or_default().push(value);
            }
        }
    }
    let title = format!("{keys} new keys of one client, one by one");
    Ok(table(&title, bench, &ROWS.map(String::from), &samples, 2, Better::Lower))
}

/// The values of [`ROWS`] for one server.
fn values(bench: &Bench, party: &Party, keys: u64) -> Result<[f64; ROWS.len()]> {
    let dir = fresh_dir(&format!("growth-{}", party.name))?;
    let server = Server::start_by(bench.cores.server(&party.program), &dir, free_port(), &OPTIONS)?;
    let mut client = server.connect()?;
    let mut trips_ms = Vec::with_capacity(keys as usize);
    for key in 0..keys {
        let key = format!("key:{key:012}");
        let begin = Instant::now();
        client.call(&["SET", &key, "a-value-of-32-bytes:000000000000"])?;
        trips_ms.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    trips_ms.sort_by(f64::total_cmp);
    let above = trips_ms.len() - trips_ms.partition_point(|trip_ms| *trip_ms <= 1.0);
    let slow = client.call(&["SLOWLOG", "GET", "-1"]).map_or(Vec::new(), Value::into_array);
    let slow_ms = slow.into_iter().filter_map(|entry| entry.into_array().get(2)?.text().parse::<f64>().ok());
    let slow_ms: Vec<f64> = slow_ms.map(|us| us / 1e3).collect();
    let is_floor = party.name == "floor";
    let said = |value: f64| if is_floor { f64::NAN } else { value };
    Ok([
        quantile(&trips_ms, 1.0),
        above as f64,
        quantile(&trips_ms, 0.9999),
        said(slow_ms.iter().copied().fold(0.0, f64::max)),
        said(slow_ms.len() as f64),
    ])
}
