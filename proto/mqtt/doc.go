// Package mqtt reads and writes the control packets of MQTT 3.1, 3.1.1 and 5.0.
package mqtt
