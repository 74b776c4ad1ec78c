//! How the program ends: each code has one meaning, for scripts.

use std::fmt;
use std::process::ExitCode;

/// What went wrong, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: it worked, and the result is negative.
    Negative,
    /// 2: usage or configuration.
    Usage,
    /// 3: something could not be reached or opened.
    Unreachable,
    /// 4: something refused us.
    Refused,
    /// 130: interrupted by the user.
    Interrupted,
}

/// An error with its exit code.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// A failure that says what failed, where, and what to do next.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Wrong arguments or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// Something in the environment is not there.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, text)
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Negative => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            Kind::Refused => 4,
            Kind::Interrupted => 130,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<causeway_store::Error> for Failure {
    fn from(error: causeway_store::Error) -> Self {
        Self::unreachable(error.to_string())
    }
}

/// What every command returns.
pub type Outcome = Result<(), Failure>;
