//! The ground floor: headers, routes, settings and failures, which every other floor knows.
//!
//! Must not know of the floors above: the edge, requests, handlers.

pub(crate) mod failure;
pub(crate) mod headers;
pub(crate) mod routes;
pub(crate) mod settings;
