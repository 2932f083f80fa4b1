//! One line that refreshes on a terminal, plain lines every ten seconds elsewhere.

use std::{
    io::{IsTerminal, Write as _, stderr},
    time::{Duration, Instant},
};

pub struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            shown: None,
        }
    }

    /// Shows where things stand, if it is time to.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let pause = match self.terminal {
            true => Duration::from_millis(150),
            false => Duration::from_secs(10),
        };
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        // The first plain line comes after the first pause: a short run needs none.
        let first = self.shown.replace(Instant::now()).is_none();
        if self.terminal {
            eprint!("\r\x1b[2K{}", line());
            // A terminal that is gone shows nothing.
            let _ = stderr().flush();
        } else if !first {
            eprintln!("{}", line());
        }
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        self.clear();
        eprintln!("{line}");
    }

    pub fn clear(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
            let _ = stderr().flush();
        }
    }
}
