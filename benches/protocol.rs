//! Cost of the wire codecs on the path of a message: parsing and building blocks, no cryptography.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smp_server::protocol::batch::{BatchBuilder, decode_batch};
use smp_server::protocol::response::BOXED_MESSAGE_LEN;
use smp_server::protocol::transmission::{
    Transmission, put_sent, put_transmission, put_transmission_head,
};
use smp_server::protocol::{BLOCK_SIZE, Command, Response, Version};

const VERSION: Version = Version::CURRENT;
/// SUBs with Ed25519 signatures that fill a block.
const SUBS: usize = 135;

/// The content of a block of as many signed `command`s as fit.
fn block_of(command: &Command<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    put_sent(&mut sent, VERSION, &[], &[1; 24], &[2; 24], |out| {
        command.encode(VERSION, out);
    });
    let mut content = Vec::with_capacity(BLOCK_SIZE);
    let mut batch = BatchBuilder::new(&mut content);
    while batch.push(|out| put_transmission(out, VERSION, &[3; 64], None, &sent)) {}
    content
}

/// Everything between a decrypted block and its commands; returns how many there are.
fn decode(content: &[u8]) -> usize {
    let mut count = 0;
    for item in decode_batch(content).into_iter().flatten() {
        let command = Transmission::decode(item, VERSION)
            .ok()
            .and_then(|t| Command::decode(t.command, VERSION).ok());
        count += usize::from(black_box(command).is_some());
    }
    count
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let body = vec![4; VERSION.max_message_length()];
    let send = block_of(&Command::Send {
        notify: true,
        body: &body,
    });
    assert_eq!(decode(&send), 1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("block of one SEND", |b| b.iter(|| decode(black_box(&send))));

    let subs = block_of(&Command::Sub);
    assert_eq!(decode(&subs), SUBS);
    group.throughput(Throughput::Elements(SUBS as u64));
    group.bench_function("block of 135 SUBs", |b| b.iter(|| decode(black_box(&subs))));
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let (id, boxed) = ([5; 24], vec![6; BOXED_MESSAGE_LEN]);
    let message = Response::Msg {
        msg_id: id[..].into(),
        boxed: boxed[..].into(),
    };
    let mut content = Vec::with_capacity(BLOCK_SIZE);
    group.throughput(Throughput::Elements(1));
    group.bench_function("block of one MSG", |b| {
        b.iter(|| {
            content.clear();
            BatchBuilder::new(&mut content).push(|out| {
                put_transmission_head(out);
                put_sent(out, VERSION, &[], &[], &id, |out| {
                    black_box(&message).encode(VERSION, out);
                });
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = decoding, encoding
}
criterion_main!(benches);
