//! Groups of members in processes of their own: who owns what, what a rebalance costs, who is fenced, who stands by.

mod assignors;
mod consumer_protocol;
mod crew;
mod fatal;
mod static_members;
mod stuck;
