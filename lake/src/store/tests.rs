//! One suite that every store must pass: what the rest of Bailiwick relies on.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

async fn conforms(store: &dyn ObjectStore) {
    put_if_absent_is_refused_the_second_time(store).await;
    overwriting_replaces_the_whole_object(store).await;
    listings_are_complete_and_in_order(store).await;
    ranges_are_exact(store).await;
    deleting_is_seen_at_once(store).await;
    one_of_many_racers_wins(store).await;
}

async fn create(store: &dyn ObjectStore, key: &str, bytes: &'static [u8]) -> object_store::Result<()> {
    store.put_opts(&Path::from(key), Bytes::from_static(bytes).into(), PutMode::Create.into()).await.map(drop)
}

async fn read(store: &dyn ObjectStore, key: &str) -> object_store::Result<Bytes> {
    store.get(&Path::from(key)).await?.bytes().await
}

async fn put_if_absent_is_refused_the_second_time(store: &dyn ObjectStore) {
    create(store, "absent/a", b"first").await.unwrap();
    let refused = create(store, "absent/a", b"second").await;
    assert!(matches!(refused, Err(Error::AlreadyExists { .. })), "{refused:?}");
    assert_eq!(read(store, "absent/a").await.unwrap(), "first");
}

async fn overwriting_replaces_the_whole_object(store: &dyn ObjectStore) {
    let key = Path::from("over/a");
    store.put(&key, "a long first text".into()).await.unwrap();
    store.put(&key, "short".into()).await.unwrap();
    assert_eq!(read(store, "over/a").await.unwrap(), "short");
}

async fn listings_are_complete_and_in_order(store: &dyn ObjectStore) {
    for number in [3, 1, 2, 10] {
        let key = Path::from(format!("list/deep/{number:020}"));
        store.put(&key, "x".into()).await.unwrap();
    }
    let names = |found: Vec<object_store::ObjectMeta>| {
        found.iter().map(|meta| meta.location.filename().unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let all = store.list(Some(&Path::from("list"))).try_collect().await.unwrap();
    assert_eq!(names(all), [1, 2, 3, 10]);
    let offset = Path::from(format!("list/deep/{:020}", 2));
    let later = store.list_with_offset(Some(&Path::from("list")), &offset).try_collect().await.unwrap();
    assert_eq!(names(later), [3, 10]);
    let none: Vec<_> = store.list(Some(&Path::from("nowhere"))).try_collect().await.unwrap();
    assert!(none.is_empty());
}

async fn ranges_are_exact(store: &dyn ObjectStore) {
    let key = Path::from("range/a");
    store.put(&key, "0123456789".into()).await.unwrap();
    assert_eq!(store.get_range(&key, 2..5).await.unwrap(), "234");
    assert_eq!(store.head(&key).await.unwrap().size, 10);
}

async fn deleting_is_seen_at_once(store: &dyn ObjectStore) {
    let key = Path::from("gone/a");
    store.put(&key, "x".into()).await.unwrap();
    store.delete(&key).await.unwrap();
    assert!(matches!(store.get(&key).await, Err(Error::NotFound { .. })));
    create(store, "gone/a", b"again").await.unwrap();
}

async fn one_of_many_racers_wins(store: &dyn ObjectStore) {
    let racers = (0..16).map(|_| create(store, "race/a", b"mine"));
    let results = futures::future::join_all(racers).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&*super::open("memory://").unwrap()).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&*super::open(folder.path().to_str().unwrap()).unwrap()).await;
}

#[tokio::test]
async fn a_directory_by_url_conforms_and_outlives_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new/bucket", folder.path().display());
    conforms(&*super::open(&url).unwrap()).await;
    let again = super::open(&url).unwrap();
    assert_eq!(read(&*again, "absent/a").await.unwrap(), "first");
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = super::open(folder.path().to_str().unwrap()).unwrap();
    create(&*store, "wal/a", b"whole").await.unwrap();
    std::fs::write(folder.path().join("wal/b#12345"), "half").unwrap();
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn an_address_that_cannot_be_opened_is_named() {
    let error = super::open("gopher://x").unwrap_err();
    assert!(error.to_string().contains("gopher"), "{error}");
}
