//! What becomes of what a reading finds: the one difference between loading a log, looking at it, and mending it.

use super::{Damage, Executed, Quarantine, Trail, Truncation};
use crate::block::Line;
use crate::dir::Directory;
use crate::error::Error;
use crate::options::{LoadCorrupt, Options};
use crate::set::Part;

/// Decides about findings; the reading goes on wherever `Ok` is returned.
pub(crate) trait Course {
    /// A file begins.
    ///
    /// # Errors
    /// Those end the reading; so below.
    fn begin(&mut self, part: &Part) -> Result<(), Error> {
        let _ = part;
        Ok(())
    }

    /// A file has lost bytes, says another. Nothing was read yet.
    fn missing(&mut self, find: Find<'_>) -> Result<(), Error>;

    /// Something was checked and given to the sink.
    #[inline]
    fn good(&mut self, good: &Good<'_>) -> Result<(), Error> {
        let _ = good;
        Ok(())
    }

    /// A `#TS:` line, and what it says if that is a number. False if the file is to be read no further.
    fn stamp(&mut self, unix_s: Option<i64>) -> Result<bool, Error> {
        let _ = unix_s;
        Ok(true)
    }

    /// Whether damage of that kind, so many bytes from the end of the last file, is [`Kind::Tail`].
    fn is_tail(&self, kind: Kind, left_bytes: u64) -> bool {
        let _ = (kind, left_bytes);
        false
    }

    /// Whether a place of that kind is to be told with the keys in it: for that all of it is read once more.
    fn wants_keys(&self, kind: Kind) -> bool {
        let _ = kind;
        false
    }

    /// A place that is no log.
    fn bad(&mut self, find: Find<'_>) -> Result<(), Error>;

    /// A file ends.
    fn end(&mut self, trail: &Trail) -> Result<(), Error> {
        let _ = trail;
        Ok(())
    }
}

/// Bytes that count: the payload of a block, a command outside blocks, or a transaction.
pub(crate) struct Good<'a> {
    /// That of the block.
    pub(crate) line: Option<&'a Line>,
    /// The database selected where they begin; none if they select one themselves.
    pub(crate) db: Option<u32>,
    /// And where they end.
    pub(crate) end_db: u32,
    pub(crate) bytes: &'a [u8],
}

impl Good<'_> {
    /// It belongs to its file, and not to the log.
    pub(crate) fn is_head(&self) -> bool {
        self.line.is_some_and(|line| line.head.is_some())
    }
}

/// A place where a file is no log.
pub(crate) struct Find<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) part: &'a Part,
    /// Nothing behind it counts, so it may be cut.
    pub(crate) is_last: bool,
    pub(crate) kind: Kind,
    pub(crate) damage: Damage,
    /// Lines of commands that are whole, between the start of the place and what is wrong.
    pub(crate) lines: u64,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a crash leaves.
    Torn(&'static str),
    /// Damage in what was safe once.
    Corrupt,
    /// Damage of either kind, so near to the end that the [course](Course::is_tail) lets it be cut.
    Tail,
    /// It was never durable, and the file behind this one says so.
    Lost,
    /// Commands that no block holds are wrong at this offset.
    Wrong(u64),
    /// Damage in an RDB, which shows at this offset.
    Rdb {
        /// Not before the start of the damage.
        at_bytes: u64,
    },
    /// Bytes that stood at the end of the file.
    Missing,
    /// All of the file is readable, and it is not what its successor recorded.
    NotAsRecorded {
        /// Nor was all of it durable, says that one.
        was_lost: bool,
    },
    /// Sound, and unwanted.
    Unwanted,
}

impl Kind {
    /// What was executed of it where a start goes on.
    fn executed(self) -> Executed {
        match self {
            Kind::Rdb { .. } => Executed::Readable,
            Kind::NotAsRecorded { .. } => Executed::All,
            _ => Executed::Nothing,
        }
    }
}

/// What a start does: cuts and sets aside where the options allow it, and refuses the rest.
pub(super) struct Load<'a> {
    options: &'a Options,
    pub(super) truncated: Option<Truncation>,
    pub(super) quarantined: Vec<Quarantine>,
}

impl<'a> Load<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Load { options, truncated: None, quarantined: Vec::new() }
    }

    fn cut_tail(&mut self, find: &Find<'_>) -> Result<(), Error> {
        let offset_bytes = find.damage.offset_bytes;
        let cut = find.directory.cut(&find.part.entry, offset_bytes, "tail", "damaged up to the end")?;
        self.truncated = Some(Truncation { is_corrupt: true, ..cut });
        Ok(())
    }

    fn tear(&mut self, find: &Find<'_>, reason: &'static str) -> Result<(), Error> {
        let Damage { path, offset_bytes, .. } = &find.damage;
        let reason = if find.is_last { reason } else { "the truncated file is not the last file" };
        if !find.is_last || !self.options.load_truncated {
            return Err(Error::UnexpectedEnd { path: path.clone(), valid_len_bytes: *offset_bytes, reason });
        }
        self.truncated = Some(find.directory.cut(&find.part.entry, *offset_bytes, "torn", reason)?);
        Ok(())
    }

    fn quarantine(&mut self, find: Find<'_>) -> Result<(), Error> {
        if self.options.load_corrupt == LoadCorrupt::Fail {
            let manifest = find.directory.manifest_path();
            return Err(Error::Corrupt { damage: Box::new(find.damage), manifest });
        }
        self.set_aside(find)
    }

    fn set_aside(&mut self, find: Find<'_>) -> Result<(), Error> {
        let Find { directory, part, kind, damage, .. } = find;
        let (from, len_bytes) = (damage.offset_bytes, damage.len_bytes);
        let side_file = (kind != Kind::Missing)
            .then(|| directory.copy_aside(&part.entry, from, len_bytes, "corrupt"))
            .transpose()?;
        self.quarantined.push(Quarantine { damage, side_file, executed: kind.executed() });
        Ok(())
    }
}

impl Course for Load<'_> {
    /// A loss that was known when it came is no reason not to start.
    fn missing(&mut self, find: Find<'_>) -> Result<(), Error> {
        if find.part.lost_from.is_some() { self.set_aside(find) } else { self.quarantine(find) }
    }

    /// What is set aside by itself leaves the blocks behind it.
    fn is_tail(&self, kind: Kind, left_bytes: u64) -> bool {
        let is_damage = match kind {
            Kind::Corrupt => self.options.load_corrupt == LoadCorrupt::Fail,
            kind => matches!(kind, Kind::Wrong(_)),
        };
        is_damage && left_bytes <= self.options.load_corrupt_tail_max_bytes
    }

    /// Nobody is told of others than those.
    fn wants_keys(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Corrupt | Kind::Lost)
    }

    fn bad(&mut self, find: Find<'_>) -> Result<(), Error> {
        match find.kind {
            Kind::Torn(reason) => self.tear(&find, reason),
            Kind::Tail => self.cut_tail(&find),
            Kind::Lost | Kind::NotAsRecorded { was_lost: true } => self.set_aside(find),
            Kind::Corrupt | Kind::Rdb { .. } | Kind::Missing | Kind::NotAsRecorded { .. } => {
                self.quarantine(find)
            }
            Kind::Wrong(offset_bytes) => {
                let Damage { path, found, .. } = find.damage;
                Err(Error::BadFormat { path, offset_bytes, found })
            }
            // A start wants everything.
            Kind::Unwanted => Ok(()),
        }
    }
}
