//! The words that a request is charged to: token buckets, leases of them, and money.

pub mod bucket;
pub mod denial;
pub mod lease;
pub mod money;
pub mod money_grant;
pub mod recount;
