use super::*;

fn config(url: &str) -> BucketConfig {
    BucketConfig {
        url: url.to_owned(),
        s3: S3Config { endpoint: "http://127.0.0.1:1".into(), ..S3Config::default() },
    }
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn keys(name: &str) -> Option<String> {
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&name).then(|| "hidden-value".to_owned())
}

fn refusal(config: &BucketConfig) -> String {
    open_in(config, &nothing).unwrap_err().to_string()
}

#[test]
fn an_address_is_a_name_and_a_prefix() {
    let parts = |url| address(&config(url)).map(|(name, prefix)| (name, prefix.to_string()));
    assert_eq!(parts("s3://acme-audit").unwrap(), ("acme-audit".into(), String::new()));
    assert_eq!(parts("s3://acme-audit/").unwrap(), ("acme-audit".into(), String::new()));
    assert_eq!(parts("s3://acme-audit/a/b=c/").unwrap(), ("acme-audit".into(), "a/b=c".into()));
    for bad in [
        "s3://",
        "s3://a",
        "s3://has space",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?y=1",
        "s3://b//c/../d",
    ] {
        let error = parts(bad).unwrap_err();
        assert!(matches!(error, LakeError::Address { .. }), "{bad}: {error}");
    }
}

#[test]
fn plain_http_stays_on_this_machine_unless_it_is_allowed() {
    let mut config = config("s3://bucket");
    for near in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000", "https://far.example"]
    {
        config.s3.endpoint = near.into();
        open_in(&config, &keys).unwrap();
    }
    config.s3.endpoint = "http://far.example:9000".into();
    let refused = refusal(&config);
    assert!(refused.contains("s3.endpoint") && refused.contains("allow_http"), "{refused}");
    config.s3.allow_http = true;
    open_in(&config, &keys).unwrap();
}

/// Goal: a variable can name the service, but never open it to plain http.
#[test]
fn the_environment_fills_in_what_is_empty_and_weakens_nothing() {
    let far = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some("http://far.example".to_owned()),
        "AWS_ALLOW_HTTP" => Some("true".to_owned()),
        _ => keys(name),
    };
    let mut config = config("s3://bucket");
    open_in(&config, &far).unwrap();
    config.s3.endpoint.clear();
    let refused = open_in(&config, &far).unwrap_err().to_string();
    assert!(refused.contains("plain http"), "{refused}");
}

#[test]
fn without_path_style_the_name_is_in_the_host() {
    let s3 = S3Config { path_style: false, ..S3Config::default() };
    let url = endpoint_url("https://s3.example:8443/", &s3, "bucket").unwrap();
    assert_eq!(url.as_str(), "https://bucket.s3.example:8443/");
    let error = endpoint_url("https://10.0.0.1/", &s3, "bucket");
    assert!(error.is_ok() || error.unwrap_err().contains("path_style"));
}

#[test]
fn what_is_wrong_with_a_field_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    let with = |change: &dyn Fn(&mut S3Config)| {
        let mut config = config("s3://bucket");
        change(&mut config.s3);
        refusal(&config)
    };
    let only_one = with(&|s3| s3.access_key_id_file = file("id", "a"));
    assert!(only_one.contains("s3.secret_access_key_file"), "{only_one}");
    let missing = with(&|s3| {
        s3.access_key_id_file = file("id", "a");
        s3.secret_access_key_file = Some("/nonexistent/secret".into());
    });
    assert!(missing.contains("s3.secret_access_key_file") && missing.contains("/nonexistent"), "{missing}");
    let empty = with(&|s3| {
        s3.access_key_id_file = file("none", " \n");
        s3.secret_access_key_file = file("secret", "b");
    });
    assert!(empty.contains("s3.access_key_id_file") && empty.contains("empty"), "{empty}");
    let authority = with(&|s3| s3.ca_file = file("ca", "not a certificate"));
    assert!(authority.contains("s3.ca_file"), "{authority}");
    let user = with(&|s3| s3.endpoint = "https://me:secret@far.example".into());
    assert!(user.contains("s3.endpoint") && !user.contains("me:secret"), "{user}");
}

/// Goal: a secret is in no text that a log or a person may get.
#[tokio::test]
async fn no_secret_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("s3://bucket/prefix");
    (config.s3.retries, config.s3.connect_timeout_ms) = (0, 200);
    for (file, field) in
        [("id", &mut config.s3.access_key_id_file), ("secret", &mut config.s3.secret_access_key_file)]
    {
        std::fs::write(folder.path().join(file), "hidden-value\n").unwrap();
        *field = Some(folder.path().join(file));
    }
    let from_files = open_in(&config, &nothing).unwrap();
    (config.s3.access_key_id_file, config.s3.secret_access_key_file) = (None, None);
    let from_environment = open_in(&config, &keys).unwrap();
    for store in [from_files, from_environment] {
        let error = answers(&*store, &config).await.unwrap_err();
        let metered = crate::store::Metered::over(store, crate::Metrics::default());
        let texts = format!("{error} {error:?} {metered} {metered:?} {config:?}");
        assert!(!texts.contains("hidden-value"), "{texts}");
        assert!(error.to_string().contains("s3.endpoint"), "{error}");
        assert_eq!(error.action(), bailiwick_proto::Action::Retry);
    }
}

/// Goal: each reply of a service that a person can do something about says what.
#[test]
fn replies_are_put_into_words() {
    let config = config("s3://bucket");
    let of = |reply: &str| {
        let source = object_store::Error::Generic { store: "S3", source: reply.to_owned().into() };
        let error = diagnosis::of(&config, source);
        (error.to_string(), error.action())
    };
    for (reply, field) in [
        ("<Code>NoSuchBucket</Code>", "bucket:"),
        ("<Code>PermanentRedirect</Code>", "s3.region:"),
        ("<Code>InvalidAccessKeyId</Code>", "s3.access_key_id_file:"),
        ("<Code>SignatureDoesNotMatch</Code>", "s3.secret_access_key_file:"),
        ("<Code>ExpiredToken</Code>", "s3.session_token_file:"),
        ("<Code>AccessDenied</Code>", "s3: access is denied"),
    ] {
        let (text, action) = of(reply);
        assert!(text.contains("s3://bucket") && text.contains(field), "{text}");
        assert_eq!(action, bailiwick_proto::Action::Fix);
    }
    let (text, action) = of("error sending request for http://169.254.169.254/latest");
    assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    assert_eq!(action, bailiwick_proto::Action::Retry);
}
