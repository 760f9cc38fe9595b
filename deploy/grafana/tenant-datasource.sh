#!/bin/sh
# Prints a data source for one tenant's Grafana organisation, to be put beside
# provisioning/datasources/bailiwick.yaml. A data source logs in as one principal:
# a tenant's token shows that tenant's rows and no others, whatever a panel asks.
#
#   bailiwick token create grafana-acme --tenant acme
#   deploy/grafana/tenant-datasource.sh acme 2 > provisioning/datasources/acme.yaml
#
# and BAILIWICK_TOKEN_ACME in Grafana's environment. 2 is the organisation's id.
set -eu
tenant=${1:?usage: tenant-datasource.sh TENANT ORGANISATION_ID}
organisation=${2:?usage: tenant-datasource.sh TENANT ORGANISATION_ID}
case $tenant in *[!a-z0-9._-]*) echo "$tenant: a tenant's name has a-z 0-9 - _ ." >&2; exit 2 ;; esac
case $organisation in *[!0-9]*) echo "$organisation: an organisation's id is a number" >&2; exit 2 ;; esac
variable=BAILIWICK_TOKEN_$(printf %s "$tenant" | tr 'a-z.-' 'A-Z__')
uid=bailiwick-$(printf %s "$tenant" | tr . -)
cat <<YAML
apiVersion: 1
datasources:
  - name: Bailiwick $tenant
    uid: $uid
    orgId: $organisation
    type: grafana-postgresql-datasource
    access: proxy
    url: \$BAILIWICK_PGWIRE
    user: grafana
    isDefault: true
    editable: false
    secureJsonData:
      password: \$$variable
    jsonData:
      database: bailiwick
      sslmode: verify-full
      postgresVersion: 1600
      timescaledb: true
      maxOpenConns: 8
      maxIdleConns: 2
      connMaxLifetime: 3600
YAML
