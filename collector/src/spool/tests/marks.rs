//! The place in a source, durable with the batch before it.

use super::*;

async fn keep(spool: &Spool, text: &str, mark: &str) {
    let kept = spool.sender().keep(Table::Syscalls, Lane::Audit, body(text), Some(body(mark))).await;
    assert_eq!(kept, Pushed::Kept);
}

fn mark(spool: &Spool) -> Option<String> {
    spool.sender().mark().map(|mark| String::from_utf8(mark.to_vec()).unwrap())
}

/// Goal: of batch and mark there are both or neither, whatever a crash leaves.
/// Method: cut the file at every byte of a marked record, and damage each byte.
#[tokio::test]
async fn a_mark_is_there_exactly_when_its_batch_is() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    keep(&spool, "first", "place 1").await;
    let before = std::fs::metadata(&scene.segments()[0]).unwrap().len() as usize;
    keep(&spool, "second", "place 2").await;
    spool.close().await;
    let path = scene.segments()[0].clone();
    let whole = std::fs::read(&path).unwrap();
    let cut = (before..whole.len()).map(|length| whole[..length].to_vec());
    let damaged = (before..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x80;
        bytes
    });
    for bytes in cut.chain(damaged) {
        std::fs::write(&path, &bytes).unwrap();
        let spool = scene.open();
        let mut outbox = spool.outbox_maker()();
        assert_eq!((outbox.span().next_seq, mark(&spool).as_deref()), (1, Some("place 1")));
        assert_eq!(read(&mut outbox, 0).await, "first");
        spool.close().await;
    }
    std::fs::write(&path, &whole).unwrap();
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    assert_eq!((outbox.span().next_seq, mark(&spool).as_deref()), (2, Some("place 2")));
    // What has no mark goes between what has one, and is read as before.
    push(&spool, "third").await;
    assert_eq!((read(&mut outbox, 2).await, read(&mut outbox, 1).await), ("third".into(), "second".into()));
    spool.close().await;
    drop(outbox);
    assert_eq!(mark(&scene.open()).as_deref(), Some("place 2"));
}

/// Goal: a mark outlives the acknowledgement of its batch until it is noted
/// elsewhere, and holds no segment back afterwards.
#[tokio::test]
async fn a_segment_stays_until_its_mark_is_noted() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    let big = "x".repeat(40 << 10);
    keep(&spool, &big, "place 1").await;
    for seq in 1..8 {
        push(&spool, &big).await;
        read(&mut outbox, seq).await;
    }
    outbox.acked(6).await.unwrap();
    let held_back = scene.segments().len();
    spool.close().await;
    drop(outbox);

    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    assert_eq!(mark(&spool).as_deref(), Some("place 1"));
    spool.sender().mark_noted();
    outbox.acked(7).await.unwrap();
    assert!(held_back > 2 && scene.segments().len() == 1, "{held_back}, then {:?}", scene.segments());
    assert_eq!(mark(&spool), None);
}
