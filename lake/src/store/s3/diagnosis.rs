//! What a refusal of the service means for whoever configured it.

use object_store::Error;

use crate::LakeError;
use crate::store::BucketConfig;

/// What a service answers, in the words of its reply or of our client; which
/// field it is about; what to do. The first that fits.
const MEANINGS: &[(&[&str], &str, &str)] = &[
    (&["NoSuchBucket"], "bucket", "there is no such bucket; make it, or correct the name"),
    (
        &[
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "without LOCATION",
            "301 Moved",
            "IllegalLocation",
        ],
        "s3.region",
        "the bucket is in another region; name its own",
    ),
    (
        &["InvalidAccessKeyId"],
        "s3.access_key_id_file",
        "the service does not know this key; look at AWS_ACCESS_KEY_ID or the file",
    ),
    (
        &["SignatureDoesNotMatch"],
        "s3.secret_access_key_file",
        "the secret does not belong to the key; look at AWS_SECRET_ACCESS_KEY or the file",
    ),
    (&["ExpiredToken", "InvalidToken"], "s3.session_token_file", "the session has ended; renew its token"),
    (&["RequestTimeTooSkewed"], "s3", "this machine's clock differs from the service's; set it"),
    (
        &["AccessDenied", "403 Forbidden"],
        "s3",
        "access is denied; these keys need to list, get, put and delete in the bucket",
    ),
];

/// The same for what the client could not even ask.
const CREDENTIALS: &[&str] = &["169.254.169.254", "169.254.170.2", "//sts.", "credential"];

/// Names bucket, field and next step for what the first request met.
pub(super) fn of(config: &BucketConfig, source: Error) -> LakeError {
    let text = chain(&source);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if let Some((_, field, next)) = MEANINGS.iter().find(|(words, ..)| says(words)) {
        let reason = (*next).to_owned();
        return LakeError::Refused { url: config.url.clone(), field: (*field).to_owned(), reason };
    }
    let (field, next) = if says(CREDENTIALS) {
        ("s3", "no keys were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name files of keys")
    } else {
        ("s3.endpoint", "the service does not answer as S3; see that it runs and is reached from here")
    };
    LakeError::Unreachable { url: config.url.clone(), field, next, source: Box::new(source) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
