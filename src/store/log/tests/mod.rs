mod codec;
mod corruption;
mod fake;
mod model;
mod notes;
mod power;
mod rehome;
mod space;
