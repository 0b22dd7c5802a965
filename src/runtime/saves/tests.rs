//! When everything is saved.

use super::*;
use futures_lite::future::{yield_now, zip};
use glommio::LocalExecutor;

/// Runs [`keep_saved`] over a counter of unsaved changes, which each save takes as it begins.
/// `during` is what happens within each save; gives what was left unsaved.
fn keep(
    unsaved: usize,
    mut during: impl FnMut(usize, &Cell<usize>, &StopRequest) -> io::Result<()>,
) -> usize {
    let (unsaved, stop) = (Cell::new(unsaved), StopRequest::default());
    let requests = Saves::default();
    let executor = LocalExecutor::default();
    let mut saves = 0;
    executor.run(async {
        let is_unsaved = || unsaved.get() > 0;
        let interval = Duration::from_millis(1);
        let keeping = keep_saved("it", interval, &stop, &requests, is_unsaved, async || {
            let taken = unsaved.replace(0);
            yield_now().await;
            saves += 1;
            let result = during(saves, &unsaved, &stop);
            if result.is_err() {
                unsaved.set(unsaved.get() + taken);
            }
            result
        });
        let requested = async {
            if unsaved.get() == 0 {
                stop.request();
            }
        };
        zip(keeping, requested).await;
    });
    unsaved.get()
}

#[test]
fn what_changes_during_a_save_is_saved_at_the_stop() {
    // The stop comes while a save is under way, which does not have the change.
    let mut count = 0;
    let left = keep(1, |save, unsaved, stop| {
        count = save;
        if save == 1 {
            unsaved.set(1);
            stop.request();
        }
        Ok(())
    });
    assert_eq!((left, count), (0, 2));
}

#[test]
fn a_save_that_fails_at_the_stop_is_tried_once_more() {
    for failures in [1, 2] {
        let left = keep(1, |save, _, stop| {
            stop.request();
            // The first was not the last yet.
            if save <= failures {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        assert_eq!(left, 0, "{failures}");
    }
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let left = keep(0, |_, _, _| panic!("saved"));
    assert_eq!(left, 0);
}
