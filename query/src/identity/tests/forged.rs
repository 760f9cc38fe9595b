//! Tokens that are not what they say, one trick each: none comes in, and the metrics know why.

use serde_json::{Value, json};

use super::issuer::{TestIssuer, encoded};
use super::*;

/// An issuer and the door that trusts it.
async fn both() -> (TestIssuer, Door) {
    let issuer = TestIssuer::start().await;
    let door = door_of(&issuer).await;
    assert_eq!(door.enter(&issuer.token()).await.unwrap(), "oidc:alice tenant acme");
    (issuer, door)
}

async fn refuses(door: &Door, what: &str, token: &str, why: Refused) {
    assert_eq!(door.enter(token).await, Err(why), "{what}");
}

#[tokio::test]
async fn an_algorithm_is_never_the_tokens_choice() {
    let (issuer, door) = both().await;
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "typ": "JWT", "kid": "rsa"}).to_string();
        format!("{}.{}.", encoded(header), encoded(issuer.claims().to_string()))
    };
    for alg in ["none", "None", "NONE", "nOnE", "", "RS256 ", "rs256", "HS1", "RS255"] {
        refuses(&door, alg, &unsigned(alg), Refused::Algorithm).await;
    }
    // Signed with what everybody knows, in every form in which a library could take it for a secret.
    let jwk = issuer.jwk("RS256", "rsa");
    let n =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, jwk["n"].as_str().unwrap());
    for secret in [n.unwrap(), jwk["n"].as_str().unwrap().into(), jwk.to_string().into_bytes(), Vec::new()] {
        for (alg, hmac) in [
            ("HS256", ring::hmac::HMAC_SHA256),
            ("HS384", ring::hmac::HMAC_SHA384),
            ("HS512", ring::hmac::HMAC_SHA512),
        ] {
            let header = json!({"alg": alg, "kid": "rsa"}).to_string();
            let message = format!("{}.{}", encoded(header), encoded(issuer.claims().to_string()));
            let tag = ring::hmac::sign(&ring::hmac::Key::new(hmac, &secret), message.as_bytes());
            refuses(&door, alg, &format!("{message}.{}", encoded(tag)), Refused::Algorithm).await;
        }
    }
    // One that is not allowed here, though its key would fit.
    refuses(&door, "RS512", &unsigned("RS512"), Refused::Algorithm).await;
    // Another algorithm's key.
    for (alg, kid) in [("RS256", "ec"), ("ES256", "rsa"), ("EdDSA", "ec"), ("ES256", "ed"), ("PS256", "ed")] {
        refuses(&door, alg, &issuer.signed(alg, kid, &issuer.claims()), Refused::Key).await;
    }
    // Of the same family: the key fits, the signature does not.
    let claims = issuer.claims().to_string();
    let header = json!({"alg": "PS256", "kid": "rsa"}).to_string();
    refuses(&door, "PS256", &issuer.signed_as("RS256", &header, &claims), Refused::Signature).await;
    assert_eq!(door.refused(Way::Oidc, Refused::Signature), 1);
    assert_eq!(door.refused(Way::Oidc, Refused::Key), 5);
}

#[tokio::test]
async fn a_changed_letter_is_seen() {
    let (issuer, door) = both().await;
    let token = issuer.token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mut richer = issuer.claims();
    richer["groups"] = json!(["sec"]);
    let richer = encoded(richer.to_string());
    refuses(&door, "other claims", &format!("{header}.{richer}.{signature}"), Refused::Signature).await;
    refuses(&door, "no signature", &format!("{message}."), Refused::Signature).await;
    refuses(
        &door,
        "half of it",
        &format!("{message}.{}", &signature[..signature.len() / 8 * 4]),
        Refused::Signature,
    )
    .await;
    refuses(&door, "zeros", &format!("{message}.{}", encoded([0; 256])), Refused::Signature).await;
    let stranger = TestIssuer::start().await;
    let mut claims = issuer.claims();
    claims["groups"] = json!(["sec"]);
    // Ed25519 and ECDSA keys are made anew for each issuer; the RSA key is shared.
    for (alg, kid) in [("ES256", "ec"), ("EdDSA", "ed")] {
        refuses(&door, alg, &stranger.signed(alg, kid, &claims), Refused::Signature).await;
    }
    for (what, broken) in [
        ("four parts", format!("{token}.x")),
        ("padded", format!("{token}=")),
        ("with a space", format!("{message} .{signature}")),
        ("a line more", format!("{token}\n")),
        ("other base64", format!("{message}.{}", signature.replace(['-', '_'], "+"))),
        ("no claims", format!("{header}..{signature}")),
        ("claims that are a list", issuer.signed_as("RS256", r#"{"alg":"RS256","kid":"rsa"}"#, "[]")),
        ("header that is a list", issuer.signed_as("RS256", "[]", &issuer.claims().to_string())),
    ] {
        assert!(door.enter(&broken).await.is_err(), "{what}");
    }
}

#[tokio::test]
async fn who_it_is_by_and_for_and_when_is_asked() {
    let (issuer, door) = both().await;
    let now = chrono::Utc::now().timestamp();
    let other = format!("{}/", issuer.url());
    for (changes, why) in [
        (json!({"iss": other}), Refused::Unknown),
        (json!({"iss": "https://id.example"}), Refused::Unknown),
        (json!({"iss": [issuer.url()]}), Refused::Malformed),
        (json!({"iss": null}), Refused::Malformed),
        (json!({"aud": "other"}), Refused::Audience),
        (json!({"aud": ["other", "bailiwick2", ""]}), Refused::Audience),
        (json!({"aud": []}), Refused::Audience),
        (json!({"aud": null}), Refused::Malformed),
        (json!({"aud": 1}), Refused::Malformed),
        (json!({"aud": {"bailiwick": 1}}), Refused::Malformed),
        (json!({"exp": now - 31}), Refused::Expired),
        (json!({"exp": 0}), Refused::Expired),
        (json!({"exp": null}), Refused::Malformed),
        (json!({"exp": (now + 600).to_string()}), Refused::Malformed),
        (json!({"exp": -1}), Refused::Malformed),
        (json!({"exp": true}), Refused::Malformed),
        (json!({"exp": [now + 600]}), Refused::Malformed),
        (json!({"nbf": now + 120}), Refused::NotYet),
        (json!({"nbf": "0"}), Refused::Malformed),
        (json!({"nbf": {"a": 1}}), Refused::Malformed),
        (json!({"sub": null}), Refused::Malformed),
        (json!({"sub": ""}), Refused::Malformed),
        (json!({"sub": 7}), Refused::Malformed),
        (json!({"sub": "a\u{0}b"}), Refused::Malformed),
        (json!({"sub": "x".repeat(300)}), Refused::Malformed),
        (json!({"groups": ["acme-dev2", "ACME-DEV", "acme", "acme-dev "]}), Refused::Unmapped),
        (json!({"groups": {"acme-dev": true}}), Refused::Unmapped),
        (json!({"groups": null}), Refused::Unmapped),
    ] {
        refuses(&door, &changes.to_string(), &issuer.token_with(&changes), why).await;
    }
    for changes in [
        json!({"aud": ["other", "sql"]}),
        json!({"exp": now - 10}),
        json!({"exp": now as f64 + 600.5}),
        json!({"exp": u64::MAX}),
        json!({"nbf": now + 10}),
        json!({"nbf": null, "iat": null}),
        json!({"groups": "acme-dev"}),
    ] {
        let entered = door.enter(&issuer.token_with(&changes)).await;
        assert_eq!(entered.as_deref(), Ok("oidc:alice tenant acme"), "{changes}");
    }
}

#[tokio::test]
async fn a_key_is_one_that_the_issuer_tells_and_no_other() {
    let (issuer, door) = both().await;
    let claims = issuer.claims().to_string();
    let with = |header: Value| issuer.signed_as("EdDSA", &header.to_string(), &claims);
    let huge = "k".repeat(10_000);
    for kid in [
        "../../../../etc/passwd",
        "/dev/null",
        "file:///dev/null",
        "http://127.0.0.1:1/keys",
        "' OR '1'='1",
        "ed\u{0}",
        "",
        "ED",
        "*",
        &huge,
    ] {
        refuses(&door, kid, &with(json!({"alg": "EdDSA", "kid": kid})), Refused::Key).await;
    }
    for kid in [json!(null), json!(1), json!(["ed"]), json!({"ed": 1})] {
        refuses(&door, &kid.to_string(), &with(json!({"alg": "EdDSA", "kid": kid})), Refused::Key).await;
    }
    refuses(&door, "without", &with(json!({"alg": "EdDSA"})), Refused::Key).await;
    // A key that the token brings along, and addresses of some: none is looked at.
    let mallory = TestIssuer::start().await;
    let jwk = mallory.jwk("EdDSA", "ed");
    for brought in [
        json!({"alg": "EdDSA", "kid": "ed", "jwk": jwk}),
        json!({"alg": "EdDSA", "kid": "ed", "jku": mallory.keys_url()}),
        json!({"alg": "EdDSA", "kid": "ed", "x5u": mallory.keys_url()}),
        json!({"alg": "EdDSA", "kid": "ed", "x5c": ["AAAA"]}),
    ] {
        let token = mallory.signed_as("EdDSA", &brought.to_string(), &claims);
        refuses(&door, &brought.to_string(), &token, Refused::Signature).await;
    }
    assert_eq!(mallory.asked(), 0);
    for header in [
        json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"], "exp": 1}),
        json!({"alg": "EdDSA", "kid": "ed", "crit": []}),
        json!({"alg": "EdDSA", "kid": "ed", "b64": false, "crit": ["b64"]}),
        json!({"alg": "EdDSA", "kid": "ed", "typ": "logout+jwt"}),
        json!({"alg": "EdDSA", "kid": "ed", "typ": 1}),
    ] {
        refuses(&door, &header.to_string(), &with(header.clone()), Refused::Malformed).await;
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        let header = json!({"alg": "EdDSA", "kid": "ed", "typ": typ});
        assert!(door.enter(&with(header)).await.is_ok(), "{typ}");
    }
}

#[tokio::test]
async fn a_key_is_good_for_what_it_says_it_is_for() {
    let issuer = TestIssuer::start().await;
    let rsa = |changes: Value| {
        let mut key = issuer.jwk("RS256", "rsa");
        changes.as_object().unwrap().iter().for_each(|(name, value)| key[name] = value.clone());
        vec![key]
    };
    let weak = "y82lqU9r8TqgBuKTQnz3GzNCz8SO0Xjf5hGd1S6Q1Nn2VqYqkT7v2S3m1e0Zr9p9H2o0G8zC7yq5o7bqk1v7cQ";
    for (what, keys, why) in [
        ("for encryption", rsa(json!({"use": "enc"})), Refused::Key),
        ("for something", rsa(json!({"use": "SIG"})), Refused::Key),
        ("to sign", rsa(json!({"key_ops": ["sign"]})), Refused::Key),
        ("another algorithm's", rsa(json!({"alg": "RS512"})), Refused::Key),
        ("to encrypt by", rsa(json!({"alg": "RSA-OAEP"})), Refused::Key),
        ("a secret", vec![json!({"kty": "oct", "kid": "rsa", "k": "AAAA"})], Refused::Key),
        ("twice", [rsa(json!({})), rsa(json!({"e": "Aw"}))].concat(), Refused::Key),
        ("short", rsa(json!({"n": weak})), Refused::Signature),
        ("of another", rsa(json!({"e": "Aw"})), Refused::Signature),
        ("no number", rsa(json!({"n": "%%"})), Refused::Key),
        ("none at all", vec![], Refused::Key),
    ] {
        issuer.publish(&keys);
        let door = door_of(&issuer).await;
        refuses(&door, what, &issuer.token(), why).await;
    }
    let mut agreement = issuer.jwk("EdDSA", "ed");
    agreement["crv"] = "X25519".into();
    issuer.publish(&[agreement]);
    let door = door_of(&issuer).await;
    refuses(&door, "X25519", &issuer.signed("EdDSA", "ed", &issuer.claims()), Refused::Key).await;
    // A key of an unknown kind, and one for encryption under the same id, do not disturb.
    let others = [json!({"kty": "PQ", "kid": "rsa"}), json!(7), rsa(json!({"use": "enc"})).remove(0)];
    for key in [rsa(json!({"key_ops": ["verify"], "alg": "RS256"})), rsa(json!({"use": null}))] {
        issuer.publish(&[others.to_vec(), key].concat());
        let door = door_of(&issuer).await;
        assert!(door.enter(&issuer.token()).await.is_ok());
    }
}

#[tokio::test]
async fn what_readers_could_read_differently_is_not_read() {
    let (issuer, door) = both().await;
    let claims = issuer.claims().to_string();
    let header = r#"{"alg":"RS256","kid":"rsa"}"#;
    let inner = claims.strip_suffix('}').unwrap();
    for twice in [
        format!(r#"{inner},"groups":["sec"]}}"#),
        format!(r#"{inner},"sub":"root"}}"#),
        format!(r#"{inner},"exp":9999999999}}"#),
        format!(r#"{inner},"a":{{"b":1,"b":2}}}}"#),
        format!(r#"{inner},"\u0073ub":"root"}}"#),
        format!("{claims} {claims}"),
        claims.replace("alice", "al\u{1}ice"),
    ] {
        refuses(&door, &twice, &issuer.signed_as("RS256", header, &twice), Refused::Malformed).await;
    }
    for twice in [
        r#"{"alg":"RS256","kid":"rsa","kid":"ed"}"#,
        r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"rsa","alg":"none"}"#,
    ] {
        refuses(&door, twice, &issuer.signed_as("RS256", twice, &claims), Refused::Malformed).await;
    }
    let deep = format!(r#"{inner},"a":{}1{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    refuses(&door, "deep", &issuer.signed_as("RS256", header, &deep), Refused::Malformed).await;
    let long = issuer.token_with(&json!({"x": "x".repeat(20_000)}));
    refuses(&door, "long", &long, Refused::TooLong).await;
    assert!(door.enter(&issuer.token_with(&json!({"x": "x".repeat(8_000)}))).await.is_ok());
}
