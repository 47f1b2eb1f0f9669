//! Values without shared state: units, numbers as text, calendar, names, credentials, errors.

pub mod calendar;
pub mod credential;
pub mod digest;
pub mod model;
pub mod numbers;
pub mod quota;
pub mod units;
pub mod verdict;

#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod error;
