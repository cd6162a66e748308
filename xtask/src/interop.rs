//! x
use crate::args::Args;
pub(crate) fn run(_: &mut Args) -> anyhow::Result<()> {
    Ok(())
}
