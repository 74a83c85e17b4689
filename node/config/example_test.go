package config_test

import (
	"fmt"

	"dunlin/node/config"
)

func ExampleLoad() {
	c, origins, err := config.Load(config.Source{
		Env:   []string{"DUNLIN_LIMITS__MAX_KEEPALIVE=60s"},
		Flags: map[string]string{"mqtt-addr": "127.0.0.1:2883"},
	})
	fmt.Println(c.MQTTAddr, origins["mqtt-addr"], err)
	fmt.Println(c.Limits.MaxKeepalive, origins["limits.max-keepalive"])
	// Output:
	// 127.0.0.1:2883 --mqtt-addr <nil>
	// 1m0s DUNLIN_LIMITS__MAX_KEEPALIVE
}
