//! Cost of the cryptography on the path of a message.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use smp_server::crypto::authorization::{Authorization, Authorized, Claim, authenticator};
use smp_server::crypto::batch::Ed25519Batch;
use smp_server::crypto::chain::{BLOCK_SIZE, BlockChain};
use smp_server::crypto::keys::{PublicAuthKey, SharedSecret, SigningKey, X25519SecretKey};
use smp_server::crypto::message::encrypt_message;
use smp_server::crypto::pad::pad_into;
use smp_server::crypto::smp_box::{BoxKey, TAG_LEN};

fn boxes(c: &mut Criterion) {
    let mut group = c.benchmark_group("box");
    group.throughput(Throughput::Bytes(BLOCK_SIZE as u64));
    let key = BoxKey::new(&[1; 32]);
    let nonce = [2; 24];
    let mut block = [3; BLOCK_SIZE];
    group.bench_function("seal 16 KiB in place", |b| {
        b.iter(|| key.seal_in_place(&nonce, black_box(&mut block)));
    });
    let mut cipher = [0; BLOCK_SIZE];
    group.bench_function("seal 16 KiB detached", |b| {
        b.iter(|| key.seal_detached(&nonce, black_box(&block), &mut cipher));
    });
    let mut sealed = [3; BLOCK_SIZE];
    key.seal_in_place(&nonce, &mut sealed).expect("room");
    group.bench_function("open 16 KiB in place", |b| {
        b.iter_batched_ref(
            || sealed,
            |block| key.open_in_place(&nonce, block).is_ok(),
            BatchSize::SmallInput,
        );
    });
    let body = vec![4; 16000];
    let mut out = Vec::with_capacity(BLOCK_SIZE);
    group.bench_function("message body", |b| {
        b.iter(|| {
            out.clear();
            encrypt_message(&key, &nonce, 1, true, black_box(&body), &mut out)
        });
    });
    group.finish();
}

fn chain(c: &mut Criterion) {
    let mut group = c.benchmark_group("chain");
    let secret = SharedSecret([1; 32]);
    let (mut chain, _) = BlockChain::init(&[2; 32], &secret).expect("derived");
    group.bench_function("advance", |b| b.iter(|| chain.advance()));
    let mut block = [3; BLOCK_SIZE];
    pad_into(16000, &mut block[TAG_LEN..]).expect("fits");
    group.bench_function("seal block", |b| {
        b.iter(|| chain.seal_block(black_box(&mut block)));
    });
    group.finish();
}

fn authorization(c: &mut Criterion) {
    let mut group = c.benchmark_group("authorization");
    let key = BoxKey::new(&[1; 32]);
    let sent = vec![2; BLOCK_SIZE];
    let authorized = Authorized::new(&[3; 32], &sent);
    group.bench_function("authenticator of 16 KiB", |b| {
        b.iter(|| authenticator(&key, &[4; 24], &black_box(authorized).parts()));
    });

    let own = X25519SecretKey::from_bytes([5; 32]);
    let peer = X25519SecretKey::from_bytes([6; 32]).public_key();
    group.bench_function("X25519 agree", |b| b.iter(|| own.agree(black_box(&peer))));

    let command = [7; 60];
    let authorized = Authorized::new(&[3; 32], &command);
    let mut scratch = Vec::new();
    let mut secrets = own;
    let kinds = [
        (
            "Ed25519",
            SigningKey::ed25519_from_seed([8; 32]).expect("key"),
        ),
        ("Ed448", SigningKey::ed448_from_seed([8; 57])),
    ];
    for (name, signer) in kinds {
        let signature = signer.sign(&authorized.parts().concat());
        let claim = Claim {
            authorization: Authorization::from_bytes(&signature).expect("length"),
            corr_id: &[4; 24],
            authorized,
        };
        let key = PublicAuthKey::from(signer.verifying_key());
        group.bench_function(format!("{name} verify"), |b| {
            b.iter(|| assert!(claim.verify(black_box(&key), &mut secrets, &mut scratch)));
        });
        group.bench_function(format!("{name} dummy"), |b| {
            b.iter(|| claim.verify_dummy(&mut secrets, &mut scratch));
        });
    }
    let claim = Claim {
        authorization: Authorization::X25519(&[0; 80]),
        corr_id: &[4; 24],
        authorized,
    };
    let key = PublicAuthKey::X25519(peer.0);
    group.bench_function("X25519 failing", |b| {
        b.iter(|| assert!(!claim.verify(black_box(&key), &mut secrets, &mut scratch)));
    });
    group.bench_function("X25519 dummy", |b| {
        b.iter(|| claim.verify_dummy(&mut secrets, &mut scratch));
    });
    group.finish();
}

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("Ed25519 batch");
    let message = [7; 93];
    let signed: Vec<([u8; 32], [u8; 64])> = (0..64)
        .map(|seed| {
            let key = SigningKey::ed25519_from_seed([seed; 32]).expect("key");
            let spki = key.verifying_key().to_spki();
            let public = spki[12..].try_into().expect("length");
            (public, key.sign(&message).try_into().expect("length"))
        })
        .collect();
    let mut batch = Ed25519Batch::new();
    for size in [2, 3, 4, 64] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("of {size}"), |b| {
            b.iter(|| {
                for (key, signature) in &signed[..size] {
                    batch.push(key, &[&message], signature);
                }
                batch.verify()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = boxes, chain, authorization, batch
}
criterion_main!(benches);
