mod codec;
mod corruption;
mod fake;
mod model;
mod power;
mod rehome;
mod space;
