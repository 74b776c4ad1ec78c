//! Who answers for the subscriber database, and on which thread.

use crate::engine::{Command, Mail};
use crate::worker::Authority;
use causeway_node::{Answer, Credentials, Lookup, Question};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Questions that may wait for an authority of its own thread; further ones are answered that it cannot be asked.
const WAITING: usize = 1024;

/// An authority, as a node is set up with it.
pub(crate) enum Placed {
    /// It answers from memory, inside the loop.
    Here(Box<dyn Authority>),
    /// It may have to wait for a disk.
    Apart(Box<dyn Authority>),
}

/// An authority, as it is asked.
pub(crate) enum Asked {
    Here(Box<dyn Authority>),
    Apart(SyncSender<(u64, Question)>),
}

impl Asked {
    /// Of node number `node`, whose answers come by `mail`.
    pub fn new(placed: Placed, node: usize, mail: Mail) -> std::io::Result<Self> {
        let mut authority = match placed {
            Placed::Here(authority) => return Ok(Self::Here(authority)),
            Placed::Apart(authority) => authority,
        };
        let (questions, asked) = sync_channel::<(u64, Question)>(WAITING);
        thread::Builder::new().name("subscribers".into()).spawn(move || {
            while let Ok((question, what)) = asked.recv() {
                // Every question gets its answer.
                let answer = catch_unwind(AssertUnwindSafe(|| answer(authority.as_mut(), &what)))
                    .unwrap_or_else(|_| unavailable(&what));
                if !mail.send(Command::Answer { node, question, answer }) {
                    return;
                }
            }
        })?;
        Ok(Self::Apart(questions))
    }

    /// Asks; `None` if the answer comes by mail.
    pub fn ask(&mut self, question: u64, what: &Question) -> Option<Answer> {
        match self {
            Self::Here(authority) => Some(answer(authority.as_mut(), what)),
            Self::Apart(questions) => {
                questions.try_send((question, what.clone())).err().map(|_| unavailable(what))
            }
        }
    }
}

fn answer(authority: &mut dyn Authority, what: &Question) -> Answer {
    match what {
        Question::Subscriber { aor } => Answer::Subscriber(authority.knows(aor)),
        Question::Credential(credential) => Answer::Credential(authority.check(credential)),
        Question::UserKey(asked) => Answer::UserKey(authority.user_key(asked)),
        Question::Resolve { .. } | Question::Records { .. } => unavailable(what),
    }
}

/// The answer to a question that no authority can be asked.
pub(crate) fn unavailable(what: &Question) -> Answer {
    match what {
        Question::Subscriber { .. } => Answer::Subscriber(Lookup::Unavailable),
        Question::Credential(_) => Answer::Credential(Credentials::Unavailable),
        Question::UserKey(_) => Answer::UserKey(None),
        Question::Resolve { .. } => Answer::Addresses(Vec::new(), String::new()),
        Question::Records { .. } => Answer::Records { records: Vec::new(), ttl: 0, why: String::new() },
    }
}
