use proptest::prelude::*;

use super::*;

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

async fn give(lake: &Lake, what: What) -> Result<Order, OrderError> {
    place(lake, &tenant(), what, "ann@desk", "case 17", 5).await
}

async fn standing(lake: &Lake) -> Standing {
    OrderBook::default().standings(lake).await.unwrap().remove(&tenant()).unwrap_or_default()
}

#[tokio::test]
async fn orders_are_given_one_after_the_other_and_kept() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    assert!(matches!(give(&lake, What::Release).await, Err(OrderError::NotHeld { .. })));
    give(&lake, What::Hold).await.unwrap();
    assert!(matches!(give(&lake, What::Hold).await, Err(OrderError::Held { .. })));
    let refused = give(&lake, What::Delete).await.unwrap_err().to_string();
    assert!(refused.contains("acme is on hold") && refused.contains("ann@desk"), "{refused}");
    give(&lake, What::Release).await.unwrap();
    let deletion = give(&lake, What::Delete).await.unwrap();
    assert!(matches!(give(&lake, What::Delete).await, Err(OrderError::Deleting { .. })));
    assert_eq!(standing(&lake).await.deletion, Some(deletion.clone()));

    let count = Count { files: 1, rows: 2, bytes: 3 };
    let (of, table) = (deletion.id.clone(), "losses".to_owned());
    give(&lake, What::Removed { of: of.clone(), table, count }).await.unwrap();
    assert_eq!(standing(&lake).await.removed, count);
    give(&lake, What::Deleted { of, count }).await.unwrap();
    let done = standing(&lake).await;
    assert!(done.deletion.is_none() && done.deleted.is_some());
    assert_eq!(OrderBook::default().read(&lake).await.unwrap()[&tenant()].orders.len(), 5);
}

#[tokio::test]
async fn a_hold_ends_a_deletion_that_is_under_way() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let deletion = give(&lake, What::Delete).await.unwrap();
    give(&lake, What::Hold).await.unwrap();
    // Somebody who did not see the hold says that he is done.
    give(&lake, What::Deleted { of: deletion.id, count: Count::default() }).await.unwrap();
    give(&lake, What::Release).await.unwrap();
    let standing = standing(&lake).await;
    assert_eq!((standing.deletion, standing.deleted, standing.hold), (None, None, None));
}

#[tokio::test]
async fn an_order_without_a_reason_is_none_and_one_that_cannot_be_read_holds() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let refused = place(&lake, &tenant(), What::Hold, "ann", "  ", 5).await;
    assert!(matches!(refused, Err(OrderError::NoReason { .. })));
    let key = OrderKey { tenant: tenant(), number: 1 };
    lake.put_order(&key, "{\"order\":\"from the future\"}".into()).await.unwrap();
    assert!(standing(&lake).await.ordered().held);
}

#[tokio::test]
async fn of_orders_given_at_once_each_has_its_number() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let give = || async { give(&lake, What::Hold).await.is_ok() };
    let (a, b, c) = tokio::join!(give(), give(), give());
    assert_eq!([a, b, c].into_iter().filter(|given| *given).count(), 1);
    assert_eq!(lake.order_keys().await.unwrap().len(), 1);
}

proptest! {
    /// Whatever is in a history: no deletion is in force under a hold, and none
    /// that was ordered before the last hold.
    #[test]
    fn no_history_deletes_under_a_hold(steps in prop::collection::vec(0u8..5, 0..40)) {
        let mut orders: Vec<Order> = Vec::new();
        let mut last_hold = 0;
        for (number, step) in (1i64..).zip(steps) {
            let of = orders.iter().rev().find(|order| matches!(order.what, What::Delete));
            let of = of.map(|order| order.id.clone()).unwrap_or_default();
            let what = match step {
                0 => { last_hold = number; What::Hold }
                1 => What::Release,
                2 => What::Delete,
                3 => What::Removed { of, table: "losses".into(), count: Count::default() },
                _ => What::Deleted { of, count: Count::default() },
            };
            let (by, reason) = (String::new(), "r".to_owned());
            orders.push(Order { id: number.to_string(), what, at_us: number, by, reason });
            let standing = Standing::of(&orders);
            prop_assert!(standing.hold.is_none() || standing.deletion.is_none());
            prop_assert!(standing.deletion.is_none_or(|deletion| deletion.at_us > last_hold));
        }
    }
}
