//! How far something has come that takes long, on standard error if that is a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};
use rewrite::Progress;

/// Bytes of a log that are read.
pub(crate) fn bytes() -> ProgressBar {
    bar("{wide_bar} {bytes} of {total_bytes}, {eta} left")
}

/// Keys that are written.
pub(crate) fn keys() -> ProgressBar {
    bar("{wide_bar} {human_pos} of {human_len} keys, {eta} left")
}

/// How far the job is that writes them.
pub(crate) fn show_keys(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.keys_total);
    bar.set_position(progress.keys);
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
