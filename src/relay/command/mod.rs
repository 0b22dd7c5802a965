//! One file per command; each is called with the queue found and the authorization verified.

pub(super) mod ack;
pub(super) mod del;
pub(super) mod get;
pub(super) mod key;
pub(super) mod ldel;
pub(super) mod lget;
pub(super) mod lkey;
pub(super) mod lset;
pub(super) mod ndel;
pub(super) mod new;
pub(super) mod nkey;
pub(super) mod nsub;
pub(super) mod nsubs;
pub(super) mod off;
pub(super) mod que;
pub(super) mod rkey;
pub(super) mod send;
pub(super) mod skey;
pub(super) mod sub;
