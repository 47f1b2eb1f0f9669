//! What can go wrong outside a verdict: files, room, and bad values.

use std::{fmt, io};

/// An error of the arena or a journal. Verdicts are not errors.
#[derive(Debug)]
pub enum Error {
    /// The file system said no; the text names what was tried.
    Io(String, io::Error),
    /// The file is not ours, not finished, or of another layout, size or identity.
    Foreign(String),
    /// A field of a policy or price cannot be stored.
    Value(String),
    /// A fixed part is full: scopes, heap, prices, slots.
    Full(String),
    /// It is being written for longer than a writer takes; try again.
    Busy(String),
    /// The ticket was ended before, or never existed.
    Ticket(u64),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |error| Self::Io(what, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Foreign(text) | Self::Value(text) | Self::Full(text) | Self::Busy(text) => {
                f.write_str(text)
            }
            Self::Ticket(ticket) => write!(f, "ticket {ticket} was ended before, or never existed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}
