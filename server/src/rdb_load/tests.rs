//! What is shown of a load.

use std::path::Path;
use std::time::Instant;

use indicatif::ProgressBar;

use super::*;
use crate::config::Config;
use crate::executor::{Loading, Server};
use crate::logger::Logger;

#[test]
fn a_terminal_is_told_how_long_the_file_is_and_how_much_of_it_is_loaded() {
    let keys: Vec<u8> = (1000..2000).flat_map(|n| format!("\0\u{4}{n}\u{1}v").into_bytes()).collect();
    let file = [b"REDIS0010\xfe\0", &keys[..], b"\xff", &[0; 8]].concat();
    let total_bytes = file.len() as u64;
    let logger = Logger::open(Path::new("/dev/null"), Level::Warning).unwrap();
    let mut server = Server::new(Config::redis_defaults(), logger, 42);
    server.loading = Some(Loading::begin(Instant::now(), 0, total_bytes));
    let bar = ProgressBar::hidden();
    let mut loader = Loader::new(&mut server, None).with_bar(bar.clone());
    let found = loader.rdb(&file[..], LoadOptions::default()).unwrap();
    assert_eq!(found.loaded, 1000);
    assert_eq!((bar.length(), bar.position()), (Some(total_bytes), total_bytes));
    drop(loader);
    assert_eq!(server.loading.map(|loading| loading.loaded_bytes), Some(total_bytes));
}
