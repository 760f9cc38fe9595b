//! One suite that every store must pass: what the rest of Bailiwick relies on.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{CopyMode, CopyOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::*;
use crate::Metrics;

#[path = "../../../tests/it/harness/weed.rs"]
mod weed;

async fn conforms(store: &dyn ObjectStore) {
    put_if_absent_is_refused_the_second_time(store).await;
    overwriting_replaces_the_whole_object(store).await;
    listings_are_complete_and_in_order(store).await;
    a_listing_of_many_objects_has_all_of_them(store).await;
    a_folder_is_listed_without_what_is_deeper(store).await;
    keys_may_be_partitions_and_dots(store).await;
    ranges_are_exact(store).await;
    what_is_missing_is_not_found(store).await;
    deleting_is_seen_at_once(store).await;
    copies_are_whole_and_independent(store).await;
    one_of_many_racers_wins(store).await;
    large_objects_come_back_as_they_were(store).await;
    uploads_in_parts_appear_whole_or_not_at_all(store).await;
}

async fn create(store: &dyn ObjectStore, key: &str, bytes: &'static [u8]) -> object_store::Result<()> {
    store.put_opts(&Path::from(key), Bytes::from_static(bytes).into(), PutMode::Create.into()).await.map(drop)
}

async fn read(store: &dyn ObjectStore, key: &str) -> object_store::Result<Bytes> {
    store.get(&Path::from(key)).await?.bytes().await
}

async fn keys_below(store: &dyn ObjectStore, folder: &str) -> Vec<String> {
    let found: Vec<_> = store.list(Some(&Path::from(folder))).try_collect().await.unwrap();
    found.into_iter().map(|meta: object_store::ObjectMeta| meta.location.to_string()).collect()
}

async fn put_if_absent_is_refused_the_second_time(store: &dyn ObjectStore) {
    create(store, "absent/a", b"first").await.unwrap();
    for again in [b"first", b"other"] {
        let refused = create(store, "absent/a", again).await;
        let refused = refused.map_err(decided);
        assert!(matches!(refused, Err(Error::AlreadyExists { .. })), "{refused:?}");
    }
    assert_eq!(read(store, "absent/a").await.unwrap(), "first");
}

async fn overwriting_replaces_the_whole_object(store: &dyn ObjectStore) {
    let key = Path::from("over/a");
    store.put(&key, "a long first text".into()).await.unwrap();
    store.put(&key, "short".into()).await.unwrap();
    assert_eq!(read(store, "over/a").await.unwrap(), "short");
    store.put(&key, PutPayload::new()).await.unwrap();
    assert_eq!(read(store, "over/a").await.unwrap(), "");
    assert_eq!(store.head(&key).await.unwrap().size, 0);
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
    let after = async |number: u64| {
        let offset = Path::from(format!("list/deep/{number:020}"));
        let later = store.list_with_offset(Some(&Path::from("list/deep")), &offset);
        names(later.try_collect().await.unwrap())
    };
    // The offset itself is left out, whether or not it is there.
    assert_eq!(after(2).await, [3, 10]);
    assert_eq!(after(5).await, [10]);
    assert!(after(10).await.is_empty());
    assert!(keys_below(store, "nowhere").await.is_empty());
    // A folder is one, not whatever begins like it.
    create(store, "listed/a", b"x").await.unwrap();
    assert_eq!(keys_below(store, "list").await.len(), 4);
}

/// More than S3 gives in one answer.
async fn a_listing_of_many_objects_has_all_of_them(store: &dyn ObjectStore) {
    let keys: Vec<String> = (0..1_100).map(|number| format!("many/{number:020}.json")).collect();
    let puts = keys.iter().map(|key| async move { create(store, key, b"x").await.unwrap() });
    futures::stream::iter(puts).buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(keys_below(store, "many").await, keys);
    let all = keys.iter().map(|key| Ok(Path::from(key.as_str()))).collect::<Vec<_>>();
    let deleted: Vec<_> =
        store.delete_stream(futures::stream::iter(all).boxed()).try_collect().await.unwrap();
    assert_eq!(deleted.len(), keys.len());
    assert!(keys_below(store, "many").await.is_empty());
}

async fn a_folder_is_listed_without_what_is_deeper(store: &dyn ObjectStore) {
    for key in ["level/b", "level/a", "level/one/c", "level/two/d/e"] {
        create(store, key, b"x").await.unwrap();
    }
    let found = store.list_with_delimiter(Some(&Path::from("level"))).await.unwrap();
    let mut objects: Vec<_> = found.objects.iter().map(|meta| meta.location.to_string()).collect();
    let mut folders: Vec<_> = found.common_prefixes.iter().map(Path::to_string).collect();
    objects.sort();
    folders.sort();
    assert_eq!(
        (objects, folders),
        (vec!["level/a".into(), "level/b".into()], vec!["level/one".into(), "level/two".into()])
    );
}

/// Keys as Delta tables have them, and names that begin alike.
async fn keys_may_be_partitions_and_dots(store: &dyn ObjectStore) {
    let keys = [
        "odd/date=2026-11-25/_cluster.x-1.parquet",
        "odd/tenant=a.b_c/date=2026-11-25/x-1.parquet",
        "odd/tenant=a/date=2026-11-25/x-1.parquet",
        "odd/tenant=_host/date=2026-11-25/0.parquet",
    ];
    for key in keys {
        create(store, key, b"x").await.unwrap();
        assert_eq!(read(store, key).await.unwrap(), "x", "{key}");
    }
    let mut found = keys_below(store, "odd").await;
    found.sort();
    let mut expected = keys.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(keys_below(store, "odd/tenant=a").await, [keys[2]]);
}

async fn ranges_are_exact(store: &dyn ObjectStore) {
    let key = Path::from("range/a");
    store.put(&key, "0123456789".into()).await.unwrap();
    assert_eq!(store.get_range(&key, 2..5).await.unwrap(), "234");
    assert_eq!(store.get_ranges(&key, &[0..1, 8..10, 3..4]).await.unwrap(), ["0", "89", "3"]);
    let last =
        object_store::GetOptions { range: Some(object_store::GetRange::Suffix(3)), ..Default::default() };
    assert_eq!(store.get_opts(&key, last).await.unwrap().bytes().await.unwrap(), "789");
    assert_eq!(store.head(&key).await.unwrap().size, 10);
}

async fn what_is_missing_is_not_found(store: &dyn ObjectStore) {
    let key = Path::from("missing/a");
    assert!(matches!(store.get(&key).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get_range(&key, 0..1).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.copy(&key, &Path::from("missing/b")).await, Err(Error::NotFound { .. })));
    // Some say that it was not there; none may fail otherwise.
    let deleted = store.delete(&key).await;
    assert!(matches!(deleted, Ok(()) | Err(Error::NotFound { .. })), "{deleted:?}");
}

async fn deleting_is_seen_at_once(store: &dyn ObjectStore) {
    let key = Path::from("gone/a");
    store.put(&key, "x".into()).await.unwrap();
    store.delete(&key).await.unwrap();
    assert!(matches!(store.get(&key).await, Err(Error::NotFound { .. })));
    assert!(keys_below(store, "gone").await.is_empty());
    create(store, "gone/a", b"again").await.unwrap();
}

async fn copies_are_whole_and_independent(store: &dyn ObjectStore) {
    let (from, to) = (Path::from("copy/from"), Path::from("copied/to"));
    store.put(&from, "original".into()).await.unwrap();
    store.put(&to, "something else, and longer".into()).await.unwrap();
    store.copy(&from, &to).await.unwrap();
    store.delete(&from).await.unwrap();
    assert_eq!(read(store, "copied/to").await.unwrap(), "original");
}

/// Goal: of many that put if absent at once exactly one is told that it was the
/// one, and its bytes are there. Method: every racer has bytes of its own.
async fn one_of_many_racers_wins(store: &dyn ObjectStore) {
    for round in 0..3 {
        let key = Path::from(format!("race/{round}"));
        let racers = (0..6_u8).map(|racer| {
            let key = key.clone();
            async move { store.put_opts(&key, vec![racer; 100].into(), PutMode::Create.into()).await }
        });
        let results = futures::future::join_all(racers).await;
        let won: Vec<u8> = (0..6).filter(|racer| results[usize::from(*racer)].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), vec![won[0]; 100]);
    }
}

/// Bytes that no store can guess.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect::<Vec<_>>().into()
}

async fn large_objects_come_back_as_they_were(store: &dyn ObjectStore) {
    let (key, bytes) = (Path::from("large/a"), noise(20 << 20));
    store.put_opts(&key, bytes.clone().into(), PutMode::Create.into()).await.unwrap();
    let found = store.get(&key).await.unwrap().bytes().await.unwrap();
    assert!(found == bytes, "{} bytes came back, not the ones that were put", found.len());
    let (start, end) = (9 << 20, (9 << 20) + 70_000);
    let part = store.get_range(&key, start as u64..end as u64).await.unwrap();
    assert!(part == bytes.slice(start..end));
}

async fn uploads_in_parts_appear_whole_or_not_at_all(store: &dyn ObjectStore) {
    let (key, bytes) = (Path::from("parts/a"), noise(12 << 20));
    let mut upload = store.put_multipart(&key).await.unwrap();
    let first = upload.put_part(bytes.slice(..6 << 20).into());
    let second = upload.put_part(bytes.slice(6 << 20..).into());
    // In whatever order they arrive.
    let (second, first) = futures::join!(second, first);
    first.unwrap();
    second.unwrap();
    assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })), "it is there before its end");
    upload.complete().await.unwrap();
    assert!(read(store, "parts/a").await.unwrap() == bytes);
    let gone = Path::from("parts/b");
    let mut upload = store.put_multipart(&gone).await.unwrap();
    upload.put_part(bytes.slice(..6 << 20).into()).await.unwrap();
    upload.abort().await.unwrap();
    assert!(matches!(store.head(&gone).await, Err(Error::NotFound { .. })));
}

/// Not every service can, and nothing here builds on it; where it is offered it must hold.
async fn copy_if_absent_is_refused_or_not_offered(store: &dyn ObjectStore) {
    let (from, to) = (Path::from("copy-absent/from"), Path::from("copy-absent/to"));
    store.put(&from, "new".into()).await.unwrap();
    store.put(&to, "old".into()).await.unwrap();
    let absent = CopyOptions { mode: CopyMode::Create, ..CopyOptions::default() };
    let refused = store.copy_opts(&from, &to, absent).await;
    let refused = matches!(
        refused,
        Err(Error::AlreadyExists { .. } | Error::NotImplemented { .. } | Error::NotSupported { .. })
    );
    assert!(refused && read(store, "copy-absent/to").await.unwrap() == "old");
}

async fn opened(url: &str) -> Arc<dyn ObjectStore> {
    open(&BucketConfig::at(url)).await.unwrap()
}

/// The suite over a store as everybody gets it, counted; and what a doctor would do.
async fn conforms_when_opened(store: Arc<dyn ObjectStore>) -> Metrics {
    let metrics = Metrics::default();
    let store = Metered::over(store, metrics.clone());
    probe(&*store).await.unwrap();
    assert!(keys_below(&*store, "probes").await.is_empty(), "it cleans up");
    conforms(&*store).await;
    copy_if_absent_is_refused_or_not_offered(&*store).await;
    metrics
}

#[tokio::test]
async fn memory_conforms() {
    conforms_when_opened(opened("memory://").await).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms_when_opened(opened(folder.path().to_str().unwrap()).await).await;
}

#[tokio::test]
async fn a_directory_by_url_conforms_and_outlives_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new/bucket", folder.path().display());
    conforms(&*opened(&url).await).await;
    let again = opened(&url).await;
    assert_eq!(read(&*again, "absent/a").await.unwrap(), "first");
}

fn bucket_of(weed: &weed::Weed, url: String) -> BucketConfig {
    let (id, secret) = weed.key_files();
    let (access_key_id_file, secret_access_key_file) = (Some(id), Some(secret));
    let endpoint = weed.endpoint();
    BucketConfig {
        url,
        s3: S3Config { endpoint, access_key_id_file, secret_access_key_file, ..S3Config::default() },
    }
}

/// Goal: an S3 bucket keeps every promise that a folder keeps, below a prefix
/// too, and refusals name bucket, field and next step. Method: the suite over a
/// real service; then the same service with each thing wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_bucket_conforms() {
    let Some(weed) = weed::Weed::start() else { return };
    let bucket = bucket_of(&weed, weed.bucket("conforming"));
    conforms_when_opened(open(&bucket).await.unwrap()).await;

    let prefixed = BucketConfig { url: format!("{}/site-a/b=c", weed.bucket("prefixed")), ..bucket.clone() };
    conforms(&*open(&prefixed).await.unwrap()).await;
    let whole = open(&BucketConfig { url: "s3://prefixed".into(), ..bucket.clone() }).await.unwrap();
    let below = keys_below(&*whole, "").await;
    assert!(!below.is_empty() && below.iter().all(|key| key.starts_with("site-a/b=c/")), "{below:?}");

    let refusal = async |config: &BucketConfig| open(config).await.map(drop).unwrap_err().to_string();
    let absent = refusal(&BucketConfig { url: "s3://nobody-made-this".into(), ..bucket.clone() }).await;
    assert!(absent.contains("s3://nobody-made-this") && absent.contains("no such bucket"), "{absent}");
    let mut wrong = bucket.clone();
    (wrong.s3.access_key_id_file, wrong.s3.secret_access_key_file) =
        (bucket.s3.secret_access_key_file.clone(), bucket.s3.access_key_id_file.clone());
    assert!(refusal(&wrong).await.contains("s3.access_key_id_file"), "{}", refusal(&wrong).await);
    wrong.s3 = bucket.s3.clone();
    wrong.s3.secret_access_key_file = bucket.s3.access_key_id_file.clone();
    assert!(refusal(&wrong).await.contains("s3.secret_access_key_file"), "{}", refusal(&wrong).await);
}

/// Goal: what was asked is counted by kind, with bytes both ways and how it ended.
#[tokio::test]
async fn operations_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["memory://", folder.path().to_str().unwrap()] {
        let metrics = Metrics::default();
        let store = Metered::over(opened(url).await, metrics.clone());
        create(&*store, "a", b"12345").await.unwrap();
        create(&*store, "a", b"1").await.unwrap_err();
        assert_eq!(read(&*store, "a").await.unwrap(), "12345");
        store.get_range(&Path::from("a"), 1..3).await.unwrap();
        store.get_ranges(&Path::from("a"), &[0..1, 4..5]).await.unwrap();
        store.head(&Path::from("a")).await.unwrap();
        store.get(&Path::from("b")).await.unwrap_err();
        keys_below(&*store, "").await;
        let mut upload = store.put_multipart(&Path::from("c")).await.unwrap();
        upload.put_part("part".into()).await.unwrap();
        upload.complete().await.unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "operations_total{operation=\"create\"} 2",
            "operations_total{operation=\"get\"} 3",
            "operations_total{operation=\"get_ranges\"} 1",
            "operations_total{operation=\"head\"} 1",
            "operations_total{operation=\"list\"} 1",
            "operations_total{operation=\"part\"} 1",
            "errors_total{operation=\"create\",kind=\"already_exists\"} 1",
            "errors_total{operation=\"get\",kind=\"not_found\"} 1",
            "sent_bytes_total 9",
            "received_bytes_total 9",
            "operation_seconds_count{operation=\"create\"} 2",
        ] {
            assert!(text.contains(&format!("bailiwick_lake_{line}\n")), "{url}: no {line} in\n{text}");
        }
    }
}

/// A conflict between two requests does not say that there is an object.
#[test]
fn only_a_refusal_that_is_one_counts_as_already_there() {
    let path = "a".to_owned();
    let conflict = "Server returned non-2xx status code: 409 Conflict: ConditionalRequestConflict";
    let undecided = Error::AlreadyExists { path: path.clone(), source: conflict.into() };
    assert!(matches!(decided(undecided), Error::Generic { .. }));
    let refused = Error::Precondition { path: path.clone(), source: "412 Precondition Failed".into() };
    let taken = Error::AlreadyExists { path, source: Box::new(refused) };
    assert!(matches!(decided(taken), Error::AlreadyExists { .. }));
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path().to_str().unwrap()).await;
    create(&*store, "wal/a", b"whole").await.unwrap();
    std::fs::write(folder.path().join("wal/b#12345"), "half").unwrap();
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn an_address_that_cannot_be_opened_is_named() {
    let error = open(&BucketConfig::at("gopher://x")).await.unwrap_err();
    assert!(error.to_string().contains("gopher"), "{error}");
}
