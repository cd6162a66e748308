//! How much memory is in use, by the allocator's own count.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, io, thread};

use keyspace::{DbIndex, Overhead};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
use tikv_jemalloc_ctl::{Access, AsName, Name, arenas, stats, stats_print};

use crate::client::Client;
use crate::executor::Server;

/// All arenas together: jemalloc's `MALLCTL_ARENAS_ALL`.
const CACHED: &[u8] = b"stats.arenas.4096.tcache_bytes\0";

/// The allocator's count, as it stood when its books were opened: that takes its locks, and a millisecond where other
/// threads allocate, too.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    /// What live allocations took, bytes.
    pub used: u64,
    /// What [`thread_bytes`] was then.
    pub by_thread: i64,
}

impl Count {
    /// Opens the books.
    pub(crate) fn take() -> Self {
        // Statistics are cached until the epoch advances.
        let _ = tikv_jemalloc_ctl::epoch::advance();
        // What threads hold ready for their next allocations counts as allocated.
        let cached = Access::<usize>::read(CACHED.name()).unwrap_or(0);
        Count {
            used: stats::allocated::read().unwrap_or(0).saturating_sub(cached) as u64,
            by_thread: thread_bytes(),
        }
    }

    /// What live allocations take by now, as far as this thread has made and freed them since.
    pub(crate) fn used_by_now(&self) -> u64 {
        self.used.saturating_add_signed(thread_bytes().wrapping_sub(self.by_thread))
    }
}

/// Pages, bytes: what INFO alone wants to know.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pages {
    /// The allocator's, in use.
    pub active: u64,
    /// And resident.
    pub resident: u64,
    /// The process's, by the kernel's count; 0 where there is no `/proc`.
    pub rss: u64,
}

impl Pages {
    /// As the books say that were opened last.
    pub(crate) fn look() -> Self {
        Pages {
            active: stats::active::read().unwrap_or(0) as u64,
            resident: stats::resident::read().unwrap_or(0) as u64,
            rss: resident_bytes(),
        }
    }
}

/// Opens the books on a thread of its own, for one who can wait for what they say.
#[derive(Debug, Default)]
pub(crate) struct Bookkeeper {
    desk: Option<Desk>,
    asked: u64,
    answered: u64,
}

/// The way to that thread and back, of questions by their numbers.
#[derive(Debug)]
struct Desk {
    questions: Sender<Question>,
    answers: Receiver<(u64, Found)>,
}

#[derive(Debug)]
struct Question {
    number: u64,
    uncounted_bytes: u64,
}

/// What the books say.
#[derive(Debug)]
pub(crate) struct Found {
    /// Memory in use, and what of it was no data when it was asked for.
    pub count: Count,
    pub uncounted_bytes: u64,
    pub pages: Pages,
}

impl Bookkeeper {
    /// Has the books opened, unless they are about to be; false if there can be no such thread.
    pub(crate) fn ask(&mut self, uncounted_bytes: u64) -> bool {
        self.asked > self.answered || self.ask_anew(uncounted_bytes)
    }

    /// Has them opened once more if they are about to be: what they say then is not of before.
    pub(crate) fn ask_anew(&mut self, uncounted_bytes: u64) -> bool {
        if self.desk.is_none() {
            self.desk = Desk::open().ok();
        }
        let Some(desk) = &self.desk else { return false };
        let number = self.asked + 1;
        let is_asked = desk.questions.send(Question { number, uncounted_bytes }).is_ok();
        self.asked += u64::from(is_asked);
        is_asked
    }

    /// What they say to the last question, once they have been opened.
    #[inline]
    pub(crate) fn answer(&mut self) -> Option<Found> {
        if self.answered == self.asked {
            return None;
        }
        let desk = self.desk.as_ref()?;
        let found =
            desk.answers.try_iter().find_map(|(number, found)| (number == self.asked).then_some(found))?;
        self.answered = self.asked;
        // What was allocated meanwhile is in the count, or it is missing until the next: a turn's.
        Some(Found { count: Count { by_thread: thread_bytes(), ..found.count }, ..found })
    }
}

impl Desk {
    fn open() -> io::Result<Self> {
        let ((questions, asked), (answer, answers)) = (channel(), channel());
        thread::Builder::new().name("bookkeeper".into()).spawn(move || {
            for Question { number, uncounted_bytes } in asked {
                let found = Found { count: Count::take(), uncounted_bytes, pages: Pages::look() };
                // Who asked may be gone.
                let _ = answer.send((number, found));
            }
        })?;
        Ok(Desk { questions, answers })
    }
}

/// Bytes that this thread has allocated, less those that it has freed, whoever allocated them: its changes are exact,
/// and cost nothing to be read.
pub(crate) fn thread_bytes() -> i64 {
    thread_local! {
        static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
            allocatedp::read().ok().zip(deallocatedp::read().ok());
    }
    COUNTERS.with(|counters| {
        counters.map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()) as i64)
    })
}

/// Gives pages that nothing stands in back to the kernel at once, as MEMORY PURGE asks.
pub(crate) fn purge() {
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        // A decay time of 0 is that; then it is what it was. An arena that is not there yet has nothing to give.
        let decay = format!("arena.{arena}.dirty_decay_ms\0");
        let decay: &Name = decay.as_bytes().name();
        if let Ok(before) = Access::<isize>::update(decay, 0) {
            let _ = Access::<isize>::write(decay, before);
        }
    }
}

/// The allocator's report.
pub(crate) fn report() -> String {
    let mut text = Vec::new();
    // Writing to a vector does not fail.
    let _ = stats_print::stats_print(&mut text, stats_print::Options::default());
    String::from_utf8_lossy(&text).into_owned()
}

fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes of memory that the machine has.
pub(crate) fn system_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram as u64 * u64::from(machine.mem_unit)
}

/// The books of memory, bytes: what INFO and MEMORY say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// What live allocations take.
    pub(crate) used: u64,
    /// The most that they ever took.
    pub(crate) peak: u64,
    /// What they took before anything was loaded.
    pub(crate) startup: u64,
    /// The allocator's pages that something stands in.
    pub(crate) active: u64,
    /// Its pages that the kernel keeps for it.
    pub(crate) resident: u64,
    /// The process's pages.
    pub(crate) rss: u64,
    /// What clients' buffers take, replicas' excepted.
    pub(crate) clients: u64,
    /// What replicas take, and what is kept for those that lag.
    pub(crate) replicas: u64,
    /// What the backlog takes, up to its size.
    pub(crate) backlog: u64,
    /// What the log has not written yet.
    pub(crate) log_buffer: u64,
    /// What each database takes beside its data; those without keys are left out.
    pub(crate) dbs: Vec<(DbIndex, Overhead)>,
    /// Everything that is not data.
    pub(crate) overhead: u64,
}

/// How much more is held than is needed for something.
pub(crate) struct Ratio {
    /// INFO's name for it.
    pub(crate) name: &'static str,
    held: u64,
    needed: u64,
}

impl Ratio {
    pub(crate) fn value(&self) -> f64 {
        self.held as f64 / self.needed.max(1) as f64
    }

    pub(crate) fn bytes(&self) -> i64 {
        self.held as i64 - self.needed as i64
    }
}

impl Books {
    /// What the data takes.
    pub(crate) fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead)
    }

    /// What came after the start.
    pub(crate) fn net(&self) -> u64 {
        self.used.saturating_sub(self.startup)
    }

    /// What is lost to fragmentation, on each level.
    pub(crate) fn ratios(&self) -> [Ratio; 4] {
        [
            Ratio { name: "allocator_frag", held: self.active, needed: self.used },
            Ratio { name: "allocator_rss", held: self.resident, needed: self.active },
            Ratio { name: "rss_overhead", held: self.rss, needed: self.resident },
            Ratio { name: "mem_fragmentation", held: self.rss, needed: self.used },
        ]
    }

    /// What may be wrong, and what may help.
    pub(crate) fn diagnosis(&self, clients: usize) -> String {
        const SMALL: u64 = 5 << 20;
        if self.used < SMALL {
            return "There is so little data that figures about its memory would mean nothing.".into();
        }
        let [fragmentation, allocator, process, _] = self.ratios();
        let notable = |ratio: &Ratio, most: f64| ratio.value() > most && ratio.bytes() > 10 << 20;
        let findings = [
            (
                self.peak > self.used / 2 * 3,
                "Peak: more than 1.5 times as much memory as now was in use once. Pages that were needed then may still \
                 be held; MEMORY PURGE gives them back.",
            ),
            (
                notable(&fragmentation, 1.1),
                "Fragmentation: the allocator's pages are not full, because what stood beside live data was freed. \
                 What is written next fills them.",
            ),
            (
                notable(&allocator, 1.1),
                "Unused pages: the allocator holds pages that nothing stands in. It gives them back in time, or at \
                 once on MEMORY PURGE.",
            ),
            (
                notable(&process, 1.1),
                "Process: it has more resident memory than its allocator: threads' stacks, the program, mapped files.",
            ),
            (
                self.clients / clients.max(1) as u64 > 200 << 10,
                "Clients: their buffers take more than 200 KiB each on average. CLIENT LIST names them (qbuf, omem); \
                 maxmemory-clients and client-output-buffer-limit bound them.",
            ),
        ];
        let found: Vec<&str> =
            findings.into_iter().filter_map(|(is_so, text)| is_so.then_some(text)).collect();
        if found.is_empty() { "Nothing about the memory is remarkable.".into() } else { found.join("\n") }
    }
}

impl Server {
    /// Looks everything up that is known of memory.
    pub(crate) fn memory_books(&self) -> Books {
        let used = self.room.count.used_by_now();
        let pages = self.room.pages;
        let active = pages.active.max(used);
        let resident = pages.resident.max(active);
        let startup = self.room.startup_bytes;
        let (replicas, clients): (Vec<&Client>, Vec<&Client>) =
            self.clients.iter().partition(|client| self.replication.has(client.id));
        let take = |clients: Vec<&Client>| clients.into_iter().map(Client::memory_bytes).sum::<u64>();
        let excess = self.replication.excess_bytes(&self.config);
        let backlog = self.replication.backlog.memory_bytes() - excess;
        let (replicas, clients) = (take(replicas) + excess, take(clients));
        let log_buffer = self.persistence.buffer_bytes();
        let dbs = self.keyspace.dbs().iter().enumerate().filter(|(_, db)| !db.is_empty());
        let dbs: Vec<_> = dbs.map(|(index, db)| (index, db.overhead())).collect();
        let tables: usize = dbs.iter().map(|(_, db)| db.main_bytes + db.expires_bytes).sum();
        Books {
            used,
            peak: self.stats.used_memory_peak_bytes.max(used),
            startup,
            active,
            resident,
            rss: pages.rss,
            clients,
            replicas,
            backlog,
            log_buffer,
            dbs,
            overhead: startup + clients + replicas + backlog + log_buffer + tables as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bookkeeper_answers_once_for_each_time_that_it_is_asked() {
        let mut bookkeeper = Bookkeeper::default();
        assert!(bookkeeper.answer().is_none());
        assert!(bookkeeper.ask(1));
        let held = vec![1u8; 64 << 20];
        assert!(bookkeeper.ask_anew(2) && bookkeeper.ask(3));
        let Found { count, uncounted_bytes, pages } = loop {
            if let Some(found) = bookkeeper.answer() {
                break found;
            }
            thread::yield_now();
        };
        assert_eq!(uncounted_bytes, 2, "who has asked anew hears nothing of before");
        assert!(bookkeeper.answer().is_none());
        assert!(count.used_by_now() >= held.len() as u64, "{count:?}");
        assert!(
            pages.rss > 0 && pages.resident >= pages.active && pages.active >= held.len() as u64,
            "{pages:?}"
        );
    }

    #[test]
    fn the_doctor_names_what_stands_out() {
        let sound = Books {
            used: 100 << 20,
            peak: 100 << 20,
            active: 101 << 20,
            resident: 102 << 20,
            rss: 103 << 20,
            ..Books::default()
        };
        assert_eq!(sound.diagnosis(1), "Nothing about the memory is remarkable.");
        for (books, word) in [
            (Books { peak: 151 << 20, ..sound.clone() }, "Peak"),
            (Books { active: 120 << 20, resident: 120 << 20, ..sound.clone() }, "Fragmentation"),
            (Books { resident: 120 << 20, ..sound.clone() }, "Unused pages"),
            (Books { rss: 120 << 20, ..sound.clone() }, "Process"),
            (Books { clients: 3 << 20, ..sound.clone() }, "Clients"),
        ] {
            let text = books.diagnosis(10);
            assert!(text.starts_with(word) && text.lines().count() == 1, "{word}: {text}");
        }
        assert!(
            Books { used: 1 << 20, peak: 9 << 20, ..sound }.diagnosis(1).starts_with("There is so little")
        );
    }
}
