//! What a process that was killed has made and listed nowhere.
//!
//! | left by a kill | needless because |
//! |---|---|
//! | an incr before its manifest | it has no byte |
//! | a base between its rename and its manifest | it says itself that it is of this log, and covers nothing beyond what was replayed |
//!
//! Whatever else no manifest lists stays: it may be somebody's data.

use std::io::Read;
use std::path::PathBuf;

use memchr::memmem;

use crate::block::{BaseHead, Head, Line, MAGIC, MAX_LINE_BYTES};
use crate::dir::{Directory, Recovered, Role};
use crate::error::{Error, io_error};
use crate::fs::Reader;
use crate::manifest::Entry;

impl Directory {
    /// Such files. Replay first: only that tells what they hold; and remove them last, once what was replayed is durable.
    ///
    /// # Errors
    /// [`Error::NotReplayed`]; [`Error::Io`], of a file that could not be looked at.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        let recovered = self.recovered()?;
        let mut leftovers = Vec::new();
        for name in self.names()? {
            if let Some((role, seq)) = self.role(&name)
                && self.is_leftover(role, &Entry { name: name.clone(), seq }, &recovered)?
            {
                leftovers.push(self.path(&name));
            }
        }
        Ok(leftovers)
    }

    fn is_leftover(&self, role: Role, entry: &Entry, recovered: &Recovered) -> Result<bool, Error> {
        let manifest = self.manifest();
        if manifest.is_empty()
            || manifest.replayed().chain(&manifest.history).any(|listed| listed.name == entry.name)
        {
            return Ok(false);
        }
        let len_bytes = self.len_bytes(entry)?;
        Ok(match role {
            Role::Incr => len_bytes == 0,
            Role::Base => self
                .last_head(entry, len_bytes)?
                .is_some_and(|head| Some(head.epoch) == recovered.epoch && head.covers <= recovered.end),
        })
    }

    /// The head that closes a base.
    fn last_head(&self, entry: &Entry, len_bytes: u64) -> Result<Option<BaseHead>, Error> {
        let path = self.path(&entry.name);
        let file = Reader::open(&**self.fs(), &path, len_bytes.saturating_sub(MAX_LINE_BYTES as u64))?;
        let mut tail = Vec::new();
        file.take(MAX_LINE_BYTES as u64).read_to_end(&mut tail).map_err(io_error("read", &path))?;
        let line = memmem::rfind(&tail, MAGIC).and_then(|at| Line::parse(tail.get(at..)?, None));
        Ok(match line.and_then(|line| line.head) {
            Some(Head::Base(head)) => Some(head),
            _ => None,
        })
    }
}
