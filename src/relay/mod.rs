//! The shard: a pure state machine from commands to answers.
