{{- define "coordinator.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}-coordinator
{{- end }}

{{- define "coordinator.internal" -}}
{{- include "coordinator.name" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "coordinator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "coordinator.labels" -}}
{{ include "coordinator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "coordinator.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* What both containers share: nothing is writable but the home and /tmp, and nobody is root. */}}
{{- define "coordinator.container" -}}
image: {{ include "coordinator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- with .Values.database.existingSecret }}
env:
  - name: INTERTWINE_DATABASE_URL
    valueFrom:
      secretKeyRef:
        name: {{ . | quote }}
        key: {{ $.Values.database.key | quote }}
{{- end }}
volumeMounts:
  - {name: home, mountPath: /var/lib/intertwine}
  - {name: tmp, mountPath: /tmp}
{{- end }}
