//! An abort, and a job that ends at the same moment.

use std::sync::Arc;

use aof::Fs;

use super::{Counter, disk, model, settings};
use crate::control::Control;
use crate::job::Job;
use crate::sync::{Broken, Condvar, Mutex, Sabotage};

const PREEMPTIONS: usize = 3;
const SUCCESSOR: &[u8] = b"the next rewrite's";

/// A rewrite is aborted and the next one, whose file has the same name, begins at once: the first never touches it.
fn abort_model(sabotage: Option<Sabotage>) {
    model(PREEMPTIONS, move || {
        let disk = disk();
        let fs: Arc<dyn Fs> = disk.clone();
        let control = Arc::new(Control::new(fs.clone(), "/temp".into(), 0, Broken(sabotage)));
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let told = done.clone();
        let wake = Arc::new(move || {
            *told.0.lock() = true;
            told.1.notify_one();
        });
        let (source, settings) = (Counter(1), settings());
        let job = Job {
            control: control.clone(),
            settings,
            source,
            unix_s: 0,
            covers: Default::default(),
            offline: None,
            wake,
        };
        job.start().expect("a thread starts");
        // The executor may have seen the end before.
        let taken = control.take_outcome();
        control.abort(false);
        if taken.is_none() {
            assert!(disk.bytes("/temp".as_ref()).is_none(), "aborted, but the file is there");
            assert!(control.take_outcome().is_none(), "an outcome after the abort");
        }
        disk.put("/temp".as_ref(), SUCCESSOR);
        let mut is_done = done.0.lock();
        while !*is_done {
            done.1.wait_for(&mut is_done, std::time::Duration::MAX);
        }
        assert_eq!(
            disk.bytes("/temp".as_ref()).as_deref(),
            Some(SUCCESSOR),
            "the successor's file was touched"
        );
    });
}

#[test]
fn abort_against_completion() {
    abort_model(None);
}

#[test]
#[should_panic(expected = "the successor's file was touched")]
fn abort_against_completion_notices_a_job_that_removes_unasked() {
    abort_model(Some(Sabotage::RemoveUnasked));
}

#[test]
#[should_panic(expected = "the successor's file was touched")]
fn abort_against_completion_notices_a_job_that_creates_unasked() {
    abort_model(Some(Sabotage::CreateUnasked));
}

/// An executor that sleeps until it is woken finds the outcome.
fn wake_model(sabotage: Option<Sabotage>) {
    model(PREEMPTIONS, move || {
        let control = Arc::new(Control::new(disk(), "/temp".into(), 0, Broken(sabotage)));
        let woken = Arc::new((Mutex::new(false), Condvar::new()));
        let waker = woken.clone();
        let wake = Arc::new(move || {
            *waker.0.lock() = true;
            waker.1.notify_one();
        });
        let (source, settings) = (Counter(1), settings());
        let job = Job {
            control: control.clone(),
            settings,
            source,
            unix_s: 0,
            covers: Default::default(),
            offline: None,
            wake,
        };
        job.start().expect("a thread starts");
        let mut is_woken = woken.0.lock();
        while !*is_woken {
            woken.1.wait_for(&mut is_woken, std::time::Duration::MAX);
        }
        drop(is_woken);
        let outcome = control.take_outcome().expect("woken, but there is no outcome");
        assert!(outcome.is_ok());
    });
}

#[test]
fn a_woken_executor_finds_the_outcome() {
    wake_model(None);
}

#[test]
#[should_panic(expected = "woken, but there is no outcome")]
fn a_woken_executor_finds_the_outcome_notices_a_wake_that_is_too_early() {
    wake_model(Some(Sabotage::WakeTooEarly));
}
