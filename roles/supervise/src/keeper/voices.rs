//! What one program writes: heard, remembered, handed to the journal.
//!
//! **Job.** Read standard output and standard error until the program has ended; keep the last lines for its end. **Called by**
//! `keeper`, `connections`. **Calls** `journal`, `host::process::output`.
//!
//! Invariants
//! 1. [`Voices::hear`] may be dropped at any await: nothing that was read is lost.
//!
//! Not here: what becomes of lines (`journal`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::process::output::Output;

use super::journal::{Batch, Journal, TELL_EVERY};
use crate::log::line::Source;

/// Lines that are told with an end.
const LINES_TOLD: usize = 20;
/// What of each of them, in bytes.
const LINE_TOLD_BYTES: usize = 400;

/// The last lines of a program.
pub(super) type LastWords = Rc<RefCell<VecDeque<String>>>;

/// See the module.
pub(super) struct Voices {
    out: Option<Output>,
    err: Option<Output>,
    batch: Batch,
    journal: Rc<Journal>,
    said: LastWords,
}

impl Voices {
    pub(super) fn of(
        app: &Arc<str>,
        instance: u32,
        (out, err): (Option<Output>, Option<Output>),
        journal: &Rc<Journal>,
    ) -> (Self, LastWords) {
        let said = LastWords::default();
        let batch = journal.batch(app, instance);
        (Self { out, err, batch, journal: Rc::clone(journal), said: Rc::clone(&said) }, said)
    }

    /// Hears the next lines. Never ends by itself.
    pub(super) async fn hear(&mut self) {
        let dropped = self.batch.has_dropped();
        let (batch, said) = (RefCell::new(&mut self.batch), &self.said);
        batch.borrow_mut().tick();
        let add = |source: Source, line: &[u8]| {
            if let Some(text) = batch.borrow_mut().add(source, line) {
                remember(said, &text);
            }
        };
        let next = async |output: &mut Option<Output>, source| -> io::Result<()> {
            match output {
                Some(output) => output.lines(|line| add(source, line)).await,
                None => std::future::pending().await,
            }
        };
        let quiet = async {
            if dropped {
                tokio::time::sleep(TELL_EVERY).await;
            } else {
                std::future::pending().await
            }
        };
        // What cannot be read any more is no reason to end it.
        let broken = tokio::select! {
            read = next(&mut self.out, Source::Out) => read.is_err().then_some(Source::Out),
            read = next(&mut self.err, Source::Err) => read.is_err().then_some(Source::Err),
            () = quiet => None,
        };
        match broken {
            Some(Source::Out) => self.out = None,
            Some(_) => self.err = None,
            None => {}
        }
        self.journal.write(&mut self.batch);
    }

    /// The program has ended: what is left in its pipes.
    pub(super) fn rest(mut self) {
        self.batch.tick();
        for (output, source) in [(self.out.take(), Source::Out), (self.err.take(), Source::Err)] {
            let Some(output) = output else { continue };
            output.rest(|line| {
                if let Some(text) = self.batch.add(source, line) {
                    remember(&self.said, &text);
                }
            });
        }
        self.batch.tell_dropped(true);
        self.journal.write(&mut self.batch);
    }
}

/// One more line that is told with its end.
pub(super) fn remember(said: &LastWords, text: &str) {
    let mut said = said.borrow_mut();
    if said.len() == LINES_TOLD {
        said.pop_front();
    }
    said.push_back(text[..text.floor_char_boundary(LINE_TOLD_BYTES)].to_owned());
}
