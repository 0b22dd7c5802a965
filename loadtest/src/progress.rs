//! A progress bar on standard error, only where somebody watches.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// The bar; nothing is drawn when standard error is no terminal.
pub struct Progress {
    bar: ProgressBar,
    drawn: Cell<Instant>,
}

impl Progress {
    /// A bar up to `total`, or a counter when the total is not known.
    pub fn new(total: Option<u64>, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{msg} {wide_bar} {pos}/{len} {per_sec} {elapsed}",
            None => "{msg} {pos} {per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self::of(bar)
    }

    /// A bar that is never drawn.
    pub fn hidden() -> Self {
        Self::of(ProgressBar::hidden())
    }

    fn of(bar: ProgressBar) -> Self {
        Self {
            bar,
            drawn: Cell::new(Instant::now()),
        }
    }

    /// Shows the position, a few times a second at most.
    pub fn set(&self, position: u64) {
        if self.drawn.get().elapsed() >= REDRAW_EVERY {
            self.drawn.set(Instant::now());
            self.bar.set_position(position);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
