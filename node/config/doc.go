// Package config says what a node was told: one Config, put together from
// defaults, a YAML file, the environment and flags, in rising precedence.
//
// A setting has one key. The key "mqtt-addr" is the flag --mqtt-addr, the
// variable DUNLIN_MQTT_ADDR and a top-level key of the file; "limits.max-keepalive"
// is max-keepalive below limits in the file and DUNLIN_LIMITS__MAX_KEEPALIVE, and
// has no flag. A key that does not exist is an error that names the nearest one,
// and every error is a single line that tells place, key, value and what is
// allowed.
package config
