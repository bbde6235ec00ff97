"""Ports that no webhook can mean: two published lists, and their union, the default of `egress.deny_ports`.
Constants only; touches nothing.
"""

from __future__ import annotations

from typing import Final

WHATWG_BAD_PORTS: Final[tuple[int, ...]] = (
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
)  # fmt: skip
"""Ports that browsers do not fetch from, because another protocol there could be fooled by HTTP.
Source: WHATWG Fetch Standard, section "Port blocking" (https://fetch.spec.whatwg.org/#port-blocking)."""

INFRASTRUCTURE_PORTS: Final[tuple[int, ...]] = (
    22, 23, 25, 53,                     # SSH, Telnet, SMTP, DNS
    88, 135, 137, 138, 139, 445, 464,   # Kerberos, Windows RPC and file sharing
    110, 143, 465, 587, 993, 995,       # mail
    111, 873, 2049,                     # portmapper, rsync, NFS
    389, 636, 3268, 3269,               # LDAP and the Active Directory catalogue
    512, 513, 514, 515,                 # rexec, rlogin, rsh and syslog, printers
    623, 3389, 5900, 5985, 5986,        # IPMI, RDP, VNC, WinRM
    1433, 1521, 3306, 5432,             # SQL Server, Oracle, MySQL, PostgreSQL
    2181, 2379, 2380,                   # ZooKeeper, etcd
    2375, 2376, 6443, 10250, 10255,     # Docker, the Kubernetes API, kubelet
    4369, 5671, 5672, 15671, 15672, 25672,  # RabbitMQ: epmd, AMQP, management, clustering
    1883, 4222, 6379, 9042, 9092, 11211,    # MQTT, NATS, Redis, Cassandra, Kafka, Memcached
    5984, 9200, 9300, 27017, 27018, 27019,  # CouchDB, Elasticsearch, MongoDB
)  # fmt: skip
"""Ports of services that run a platform and never take a customer's webhook. Source: the IANA service name
registry and the vendors' documented defaults. 8000 to 8999 stay open: customers put CRMs there."""

DEFAULT_DENY_PORTS: Final[tuple[int, ...]] = tuple(sorted({*WHATWG_BAD_PORTS, *INFRASTRUCTURE_PORTS}))
"""The default of `egress.deny_ports`, ascending."""
