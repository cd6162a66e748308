//! One assertion per row of the policy.

use super::*;

fn moment(fsync: Fsync) -> Moment {
    Moment { fsync, rests: false, written: 20, durable: 10, wanted: 0, oldest: None, unsynced_mark: false }
}

#[test]
fn nothing_to_sync_is_nothing_to_do() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let clean = Moment { durable: 20, wanted: 30, ..moment(fsync) };
        assert_eq!(decide(Instant::now(), &clean), Action::Wait);
    }
}

#[test]
fn always_syncs_at_once_and_no_never() {
    let now = Instant::now();
    assert_eq!(decide(now, &moment(Fsync::Always)), Action::Sync);
    assert_eq!(decide(now, &moment(Fsync::No)), Action::Wait);
}

#[test]
fn everysec_syncs_when_the_oldest_byte_is_a_second_old() {
    let sealed = Instant::now();
    let aged = Moment { oldest: Some(sealed), ..moment(Fsync::Everysec) };
    let due = sealed + EVERYSEC;
    assert_eq!(decide(sealed, &aged), Action::WaitUntil(due));
    assert_eq!(decide(due - Duration::from_nanos(1), &aged), Action::WaitUntil(due));
    assert_eq!(decide(due, &aged), Action::Sync);
    assert_eq!(decide(sealed, &moment(Fsync::Everysec)), Action::Sync, "an unknown age may be any");
}

#[test]
fn who_asks_is_served_under_every_policy_and_during_a_rewrite() {
    for fsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let wanted = Moment { wanted: 11, rests: true, oldest: Some(Instant::now()), ..moment(fsync) };
        assert_eq!(decide(Instant::now(), &wanted), Action::Sync);
    }
}

#[test]
fn a_policy_that_rests_waits() {
    for fsync in [Fsync::Always, Fsync::Everysec] {
        assert_eq!(decide(Instant::now(), &Moment { rests: true, ..moment(fsync) }), Action::Wait);
    }
}
